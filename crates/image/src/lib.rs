//! Image builder: a Django project becomes an OCI image through the Docker engine.
