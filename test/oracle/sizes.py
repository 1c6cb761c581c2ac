"""What a dim of shape-infer's output stands for."""


def size_of(dim, sizes):
    """The number, under the given sizes of the symbols; None where it is unknown or has a symbol of its own."""
    if dim.HasField('dim_value'):
        return dim.dim_value
    try:
        return eval(dim.dim_param, {'Max': max, 'Min': min}, dict(sizes)) if dim.dim_param else None
    except (NameError, SyntaxError):
        return None
