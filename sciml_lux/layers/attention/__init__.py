"""Attention over a sequence of tokens: `(..., length, features)`."""

from ._attention import scaled_dot_product_attention as scaled_dot_product_attention
from ._encoder_block import TransformerEncoderBlock as TransformerEncoderBlock
from ._multi_head import MultiHeadAttention as MultiHeadAttention
from ._patch_embedding import PatchEmbedding as PatchEmbedding
