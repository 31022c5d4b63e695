package pipeline

import "github.com/edgekit/edgekit/bus/pipeline/v1alpha1"

// MaxYAML is the largest file that ParseYAML reads, in bytes.
const MaxYAML = 4 << 20

// ParseYAML reads the Pipelines of a YAML file with one or more documents. Unknown fields
// and other kinds are errors.
func ParseYAML(b []byte) ([]*v1alpha1.Pipeline, error) { return nil, nil }
