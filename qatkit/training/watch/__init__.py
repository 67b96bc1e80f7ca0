"""What people see of a training while it runs: where its time goes, TensorBoard, Weights & Biases, ClearML."""
