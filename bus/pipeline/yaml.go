package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// MaxYAML is the largest file that ParseYAML reads, in bytes, MaxDocuments how many documents
// it may have.
const (
	MaxYAML      = 1 << 20
	MaxDocuments = 256
)

// ParseYAML reads the Pipelines of a YAML file with one or more documents. Unknown fields
// and other kinds are errors, and a file without a Pipeline is one.
func ParseYAML(b []byte) ([]*v1alpha1.Pipeline, error) {
	if len(b) > MaxYAML {
		return nil, fmt.Errorf("pipeline: the file has %d bytes, over the limit of %d", len(b), MaxYAML)
	}
	docs := documents(b)
	if len(docs) > MaxDocuments {
		return nil, fmt.Errorf("pipeline: the file has %d documents, over the limit of %d", len(docs), MaxDocuments)
	}
	var out []*v1alpha1.Pipeline
	for i, doc := range docs {
		p, err := parseDocument(doc)
		if err != nil {
			return nil, fmt.Errorf("pipeline: document %d: %w", i+1, err)
		}
		if p != nil {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("pipeline: the file has no Pipeline")
	}
	return out, nil
}

// documents splits a file at lines that begin with ---.
func documents(b []byte) [][]byte {
	var docs [][]byte
	var doc []byte
	for line := range bytes.Lines(b) {
		if bytes.HasPrefix(line, []byte("---")) {
			docs = append(docs, doc)
			doc = slices.Clone(bytes.TrimPrefix(line, []byte("---")))
			continue
		}
		doc = append(doc, line...)
	}
	return append(docs, doc)
}

// parseDocument returns nil for a document without content.
func parseDocument(doc []byte) (*v1alpha1.Pipeline, error) {
	var head metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &head); err != nil {
		return nil, err
	}
	if head == (metav1.TypeMeta{}) {
		var any any
		if err := yaml.Unmarshal(doc, &any); err == nil && any == nil {
			return nil, nil
		}
	}
	if want := v1alpha1.GroupVersion().String(); head.APIVersion != want || head.Kind != v1alpha1.Kind {
		return nil, fmt.Errorf("apiVersion %.60q and kind %.60q: it needs %s and %s", head.APIVersion, head.Kind, want, v1alpha1.Kind)
	}
	p := &v1alpha1.Pipeline{}
	if err := yaml.UnmarshalStrict(doc, p); err != nil {
		return nil, err
	}
	return p, nil
}
