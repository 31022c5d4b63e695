package jsonlimit

import (
	"encoding/json"
	"fmt"
	"reflect"
)

const (
	// Multiple is how many bytes decoding may allocate for each byte of a document, as
	// estimated by this package. Real use may be a little higher, but below 20.
	Multiple = 16
	// Free is what any document may allocate, in bytes: as much as one of 4 KiB.
	Free = Multiple * 4 << 10
	// maxDepth is the deepest nesting. The schema of a CustomResourceDefinition, the
	// deepest of Kubernetes' own objects, has about 60 levels.
	maxDepth = 200
)

// LimitError says why a document was not decoded.
type LimitError struct {
	Path   string // of the value that went over the limit, for example spec.containers
	Length int    // of the document, in bytes
	Limit  int    // how many bytes it may allocate, or, when Deep, how many levels it may have
	Deep   bool   // the nesting is too deep
}

func (e *LimitError) Error() string {
	at := e.Path
	if at == "" {
		at = "the document"
	}
	if e.Deep {
		return fmt.Sprintf("%s: values are nested more than %d levels deep: flatten them", at, e.Limit)
	}
	return fmt.Sprintf("%s: the document of %d bytes would take more than %d bytes of memory: it has too many elements that are empty or very small: remove them",
		at, e.Length, e.Limit)
}

// Budget is what decoding one message may allocate when documents contain other
// documents. Without it, each of many small documents in one message would have Free.
type Budget struct{ length, limit, left int }

// NewBudget returns the budget of a message of length bytes.
func NewBudget(length int) *Budget {
	limit := max(Multiple*length, Free)
	return &Budget{length, limit, limit}
}

// Unmarshal decodes the message or a part of it, and subtracts the cost from the budget.
func (b *Budget) Unmarshal(data []byte, into any) error {
	if err := b.check(data, into); err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// Take subtracts n bytes from the budget, for what the caller itself allocates for the
// message at path.
func (b *Budget) Take(path string, n int) error {
	if b.left -= n; b.left < 0 {
		return &LimitError{Path: path, Length: b.length, Limit: b.limit}
	}
	return nil
}

// Unmarshal is json.Unmarshal for a document from outside. When decoding would allocate
// too much, it returns a *LimitError and leaves into unchanged.
func Unmarshal(data []byte, into any) error { return NewBudget(len(data)).Unmarshal(data, into) }

// Check returns a *LimitError if decoding data into a value of into's type would allocate
// too much. It returns nil for data that is not JSON, because the decoder refuses it.
func Check(data []byte, into any) error { return NewBudget(len(data)).check(data, into) }

func (b *Budget) check(data []byte, into any) error {
	t := reflect.TypeOf(into)
	if t == nil || t.Kind() != reflect.Pointer {
		return nil // json.Unmarshal refuses it
	}
	w := walker{b: data, left: b.left}
	w.value(shapeOf(t.Elem()), 0)
	b.left = w.left
	if w.over == none || w.over == broken {
		return nil
	}
	e := &LimitError{Path: w.where(), Length: b.length, Limit: b.limit}
	if w.over == tooDeep {
		e.Deep, e.Limit = true, maxDepth
	}
	return e
}
