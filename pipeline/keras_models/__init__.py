"""The model that a file in models/ describes, as Keras can keep it."""
