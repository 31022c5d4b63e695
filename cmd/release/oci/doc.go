// Package oci writes images, and the artefact that nodes upgrade to, as archives of the OCI image
// layout: no registry and no container engine is needed. The same input gives the same bytes.
package oci
