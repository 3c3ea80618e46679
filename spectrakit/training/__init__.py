"""The trainer: models with exchangeable mixers, tasks, recipes, the loop and the tracker."""
