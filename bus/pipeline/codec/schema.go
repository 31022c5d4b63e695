package codec

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/internal/values"
)

const (
	// MaxSchema is the longest JSON Schema, in bytes.
	MaxSchema = 64 << 10
	// maxWork is how many schemas may be applied to one value of an event.
	maxWork = 10_000
	// maxExplained is the largest event, by pipeline.Event.Size, for which an error says where
	// it does not match: an error for each of many elements takes 100 times their size.
	maxExplained = 64 << 10

	// Addresses of the schemas; nobody asks for them.
	schemaURL = "https://edgekit.invalid/schema.json"
	checkURL  = "https://edgekit.invalid/check.json"
)

// Schema makes the validator of a JSON Schema; it is a pipeline.SchemaMaker. The schema is of
// draft 2020-12 if it does not say another in $schema. Nothing is loaded: a $ref may lead
// within the schema only. Formats are not asserted unless $schema says so.
func Schema(text string) (pipeline.Validator, error) {
	if len(text) > MaxSchema {
		return nil, fmt.Errorf("schema.json: it has %d bytes, %d are allowed", len(text), MaxSchema)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("schema.json: it is not JSON: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	// not (not S) is true where S is, and needs no memory for errors.
	check := map[string]any{"not": map[string]any{"not": map[string]any{"$ref": schemaURL}}}
	for url, doc := range map[string]any{schemaURL: doc, checkURL: check} {
		if err := c.AddResource(url, doc); err != nil {
			return nil, schemaError(err)
		}
	}
	v := &validator{}
	if v.full, err = c.Compile(schemaURL); err != nil {
		return nil, schemaError(err)
	}
	if v.check, err = c.Compile(checkURL); err != nil {
		return nil, schemaError(err)
	}
	switch n := workOf(v.full); {
	case n == math.MaxInt:
		return nil, errors.New("schema.json: a $ref leads back to the schema that has it, for the same value: remove it")
	case n > maxWork:
		return nil, fmt.Errorf("schema.json: %d schemas may be applied to one value, %d are allowed: let fewer of allOf, anyOf, oneOf and $ref lead to the same schema", n, maxWork)
	}
	return v, nil
}

var _ pipeline.SchemaMaker = Schema

// schemaError shortens what the compiler says.
func schemaError(err error) error {
	var load *jsonschema.LoadURLError
	if errors.As(err, &load) {
		return fmt.Errorf("schema.json: $ref or $schema leads to %.200q: nothing is loaded, put it into $defs", load.URL)
	}
	var schema *jsonschema.SchemaValidationError
	var wrong *jsonschema.ValidationError
	if errors.As(err, &schema) && errors.As(schema.Err, &wrong) {
		return fmt.Errorf("schema.json: it is not a JSON Schema: %w", explain("the schema", wrong))
	}
	return fmt.Errorf("schema.json: %s", strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), schemaURL, "")), " "))
}

// noLoader refuses all addresses: neither the network nor files are read.
type noLoader struct{}

var errNoLoading = errors.New("nothing is loaded")

// Load implements jsonschema.URLLoader.
func (noLoader) Load(string) (any, error) { return nil, errNoLoading }

// validator is a compiled schema.
type validator struct {
	full  *jsonschema.Schema // explains
	check *jsonschema.Schema // only says whether
}

// Validate implements pipeline.Validator.
func (v *validator) Validate(data any) error {
	data, err := forSchema(data)
	if err != nil {
		return err
	}
	if v.check.Validate(data) == nil {
		return nil
	}
	if size := (&pipeline.Event{Data: data}).Size(); size > maxExplained {
		return fmt.Errorf("the data do not match the schema; the event is too large to say where: it has %d bytes", size)
	}
	err = v.full.Validate(data)
	var wrong *jsonschema.ValidationError
	if !errors.As(err, &wrong) {
		return fmt.Errorf("the data do not match the schema: %w", err)
	}
	return explain("the data", wrong)
}

// explain is the first thing that does not match. all names the whole.
func explain(all string, e *jsonschema.ValidationError) error {
	for len(e.Causes) > 0 {
		e = e.Causes[0]
	}
	where := all
	if len(e.InstanceLocation) > 0 {
		where = "/" + strings.Join(e.InstanceLocation, "/")
	}
	return fmt.Errorf("%.200s: %.300s", where, e.ErrorKind.LocalizedString(message.NewPrinter(language.English)))
}

// forSchema returns data with bytes as base64 and times as texts. Data without these are
// returned as they are.
func forSchema(data any) (any, error) {
	foreign, err := isForeign(data, 0)
	if err != nil || !foreign {
		return data, err
	}
	return values.Map(data, jsonForm), nil
}

// isForeign says whether v has values that JSON does not have but as texts.
func isForeign(v any, depth int) (foreign bool, err error) {
	if depth > MaxDepth {
		return false, fmt.Errorf("the data are nested more than %d levels deep", MaxDepth)
	}
	one := func(e any) bool {
		var f bool
		f, err = isForeign(e, depth+1)
		foreign = foreign || f
		return err == nil
	}
	switch v := v.(type) {
	case []byte, time.Time:
		return true, nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false, fmt.Errorf("the data have a number that JSON does not have: %v", v)
		}
	case []any:
		for _, e := range v {
			if !one(e) {
				break
			}
		}
	case map[string]any:
		for _, e := range v {
			if !one(e) {
				break
			}
		}
	}
	return foreign, err
}

// jsonForm is the form in JSON of a value that is neither a list nor an object.
func jsonForm(v any) any {
	switch v := v.(type) {
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	}
	return v
}
