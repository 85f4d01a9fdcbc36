//! The control plane: what the mesh is made of, who may be what, and who needs to know.
