"""The strengths of sweeps that do well: weights, step of the loss, number."""

# Of neurons only the step of the loss counts: copies have weight 1.
METHOD = {
    "activation_weight": 0.03,
    "parameter_weight": 10.0,
    "output_weight": 4.0,
    "elementwise_weight": 1.0,
    "loss_step": 5.0,
    "sweeps": 50,
}
# A minibatch of the pure method is a whole update, so its sweeps are strong; with an
# outer optimiser, which averages over minibatches, weak ones generalise better.
PURE = {
    "activation_weight": 0.03,
    "parameter_weight": 10.0,
    "output_weight": 4.0,
    "elementwise_weight": 1.0,
    "loss_step": 5.0,
    "sweeps": 3,
}
PURE_WEAK = {
    "activation_weight": 300.0,
    "parameter_weight": 2048.0,
    "output_weight": 4.0,
    "elementwise_weight": 0.05,
    "loss_step": 1.0,
    "sweeps": 1,
}
OUTER = {
    "activation_weight": 300.0,
    "parameter_weight": 1e4,
    "output_weight": 4.0,
    "elementwise_weight": 0.05,
    "loss_step": 1.0,
    "sweeps": 1,
}
