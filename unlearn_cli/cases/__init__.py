"""What the verbs share: a checkpoint as a network on its data, the request that is put to it, and what can be done with both.

No verb imports another; what two of them need lies here.
"""
