package pipeline

import "github.com/edgekit/edgekit/bus/pipeline/v1alpha1"

// Decoder decodes payloads. Decode may be called by several goroutines at once.
type Decoder interface {
	// Decode returns data in the types of Event.Data. It does not keep b. It allocates at
	// most a stated multiple of len(b).
	Decode(b []byte) (any, error)
}

// DecoderMaker makes the Decoder of a spec. An error names the field and the remedy.
type DecoderMaker func(spec *v1alpha1.Decode) (Decoder, error)

// Validator checks data. Validate may be called by several goroutines at once.
type Validator interface {
	// Validate says what does not match, and at which field.
	Validate(data any) error
}

// SchemaMaker makes the Validator of a JSON Schema.
type SchemaMaker func(json string) (Validator, error)
