"""Makes one tf_keras model of another: narrower, shorter, factorized, tied, without obstacles."""
