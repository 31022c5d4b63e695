package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/meta/apiserver/internal/protolimit"
	"github.com/edgekit/edgekit/meta/apiserver/internal/yamllimit"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

const (
	// bodyWait is how long a request waits for room for its body.
	bodyWait = 5 * time.Second
	// bodyTime is how long a body may take to come.
	bodyTime = 30 * time.Second
	// leastBody is what the smallest body counts as, in bytes.
	leastBody = 4 << 10
	// freeYAML is how large a body of YAML may be whose cost is not reckoned, in
	// bytes: the parser makes up to 200 bytes of each of its bytes.
	freeYAML = 64 << 10
)

// room reserves memory for a request's body: its Content-Length, or MaxBody if it has none.
// All bodies together may have MaxBodies times MaxBody. A request beyond that waits for a
// moment and is then refused with a retry time. release frees the memory after the answer.
func (s *Server) room(w http.ResponseWriter, r *http.Request) (release func(), err error) {
	n := r.ContentLength
	switch {
	case n == 0:
		return func() {}, nil
	case n > s.cfg.MaxBody:
		return nil, tooLarge(s.cfg.MaxBody)
	case n < 0:
		n = s.cfg.MaxBody
	}
	n = min(max(n, leastBody), s.cfg.MaxBody)
	ctx, cancel := context.WithTimeout(r.Context(), bodyWait)
	defer cancel()
	if s.bodies.Acquire(ctx, n) != nil {
		return nil, apierrors.NewTooManyRequests("the node's API holds as many request bodies as it may", 1)
	}
	// Not every ResponseWriter has deadlines; those of net/http do.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	return func() { s.bodies.Release(n) }, nil
}

// body reads a request's body within the limit.
func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limited := http.MaxBytesReader(w, r.Body, s.cfg.MaxBody)
	var b []byte
	var err error
	if n := r.ContentLength; n > 0 && n <= s.cfg.MaxBody {
		var whole bytes.Buffer // grows as bytes come, and not by a fifth
		_, err = whole.ReadFrom(limited)
		b = whole.Bytes()
	} else {
		b, err = io.ReadAll(limited)
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge(s.cfg.MaxBody)
	}
	if err != nil {
		return nil, badRequest("body: %v", err)
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return b, nil
}

func tooLarge(limit int64) error {
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", limit))
}

// fromYAML returns the JSON of a body in YAML. JSON is YAML too, and is returned without the
// YAML parser, which needs much memory. A small body may be any YAML; one at a time is
// parsed. A large body is parsed only if yamllimit can show that this needs little memory.
func (s *Server) fromYAML(body []byte) ([]byte, error) {
	if json.Valid(body) {
		return body, nil
	}
	if len(body) > freeYAML {
		if err := yamllimit.Check(body); err != nil {
			return nil, badRequest("body: %v (a body of up to %d bytes may be any YAML)", err, freeYAML)
		}
		return yaml.YAMLToJSON(body)
	}
	s.yaml.Lock()
	defer s.yaml.Unlock()
	return yaml.YAMLToJSON(body)
}

// checkProtobuf looks at a body in Kubernetes' protobuf before it is decoded: four
// bytes, and a runtime.Unknown that names the kind and has the object.
func (s *Server) checkProtobuf(body []byte) error {
	const magic = "k8s\x00"
	var envelope runtime.Unknown
	if !bytes.HasPrefix(body, []byte(magic)) || envelope.Unmarshal(body[len(magic):]) != nil {
		return nil // the decoder returns the error
	}
	obj, err := s.catalog.scheme.New(schema.FromAPIVersionAndKind(envelope.APIVersion, envelope.Kind))
	if err != nil {
		return nil
	}
	if err := protolimit.Check(envelope.Raw, obj); err != nil {
		return badRequest("body: %v", err)
	}
	return nil
}

// parseFields reads a JSON object and keeps its fields unparsed.
func parseFields(body []byte) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := jsonlimit.Unmarshal(body, &fields); err != nil {
		return nil, err
	}
	if fields == nil {
		return nil, errors.New("it is null")
	}
	return fields, nil
}

// parseObject reads a JSON object and keeps its numbers as they are written.
func parseObject(body []byte) (map[string]any, error) {
	var fields map[string]any
	if err := jsonlimit.Check(body, &fields); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		return nil, err
	}
	if fields == nil {
		return nil, errors.New("it is null")
	}
	return fields, nil
}
