//! Model, Trainer and Loss; optimizers, checkpoints, evaluation, metrics, significance, protocol, TensorBoard, devices.
