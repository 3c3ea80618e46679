"""How hidden states are alike, and how they travel: functions of tensors, and sums over a text."""
