package devices

import _ "embed"

//go:embed admission.yaml
var policy string

// Policy returns, as YAML, a ValidatingAdmissionPolicy and its binding that keep the Devices of a
// namespace to the nodes that an annotation of the namespace lists. Without it, whoever may
// create Devices in any namespace drives the mappers of every node.
func Policy() string { return policy }
