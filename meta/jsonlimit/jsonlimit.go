package jsonlimit

import (
	"encoding/json"
	"fmt"
	"reflect"
)

const (
	// Multiple is how many bytes decoding may allocate for each byte of a
	// document, by the reckoning of this package, which leaves some room below 20.
	Multiple = 16
	// Free is what any document may take, in bytes: that of one of 4 KiB.
	Free = Multiple * 4 << 10
	// maxDepth is how deep values may be in each other. The deepest of
	// Kubernetes' own, the schema of a CustomResourceDefinition, has about 60.
	maxDepth = 200
)

// LimitError is why a document is not decoded.
type LimitError struct {
	Path   string // of the value that was one too many, for example spec.containers
	Length int    // of the document, in bytes
	Limit  int    // how many bytes it may take, or how deep it may be when Deep
	Deep   bool   // values are in each other too deep
}

func (e *LimitError) Error() string {
	at := e.Path
	if at == "" {
		at = "the document"
	}
	if e.Deep {
		return fmt.Sprintf("%s: values are in each other more than %d deep: flatten it", at, e.Limit)
	}
	return fmt.Sprintf("%s: the document of %d bytes would take more than %d bytes of memory: it has too many elements that are empty or nearly so, remove them",
		at, e.Length, e.Limit)
}

// Budget is what decoding one message may allocate when documents are in each
// other: one that has many small documents within may not have Free for each.
type Budget struct{ length, limit, left int }

// NewBudget is that of a message of so many bytes.
func NewBudget(length int) *Budget {
	limit := max(Multiple*length, Free)
	return &Budget{length, limit, limit}
}

// Unmarshal decodes a part of the message, or the whole, and takes what that
// costs from the budget.
func (b *Budget) Unmarshal(data []byte, into any) error {
	if err := b.check(data, into); err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// Take takes n bytes from the budget, for what the caller itself makes of the
// message at path.
func (b *Budget) Take(path string, n int) error {
	if b.left -= n; b.left < 0 {
		return &LimitError{Path: path, Length: b.length, Limit: b.limit}
	}
	return nil
}

// Unmarshal is json.Unmarshal for a document from outside. It returns a
// *LimitError, and leaves into as it is, when decoding would take too much.
func Unmarshal(data []byte, into any) error { return NewBudget(len(data)).Unmarshal(data, into) }

// Check returns a *LimitError if decoding data into a value of into's type would
// allocate too much. It says nothing of data that is not JSON: decoding does.
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
