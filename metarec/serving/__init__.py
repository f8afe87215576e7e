"""What a trained model is used for: adapting it to users, one or many, recommending, explaining, and asking."""
