"""The Python API: the commands as functions, after `import resnet_degradation as rd`.

May import every other room except examples."""
