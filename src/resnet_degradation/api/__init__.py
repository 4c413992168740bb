"""The Python interface, `import resnet_degradation as rd`: the commands as functions.

May import every other room but the examples."""
