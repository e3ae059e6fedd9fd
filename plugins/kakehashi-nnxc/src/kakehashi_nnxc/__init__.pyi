from .four_layer_form import FourLayerFunctional as FourLayerFunctional
from .published_weights import load_published as load_published
