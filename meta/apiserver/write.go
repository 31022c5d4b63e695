package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/manager"
)

func mediaOf(contentType string) string {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return contentType
	}
	return media
}

func unsupportedMedia(contentType string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: fmt.Sprintf("the body's media type %.100q is not supported", contentType),
	}}
}

// forward asks the cloud for what the node cannot do: writes, and reads of objects that are
// not here. res is nil for a resource that is not served from the store.
func (s *Server) forward(w http.ResponseWriter, r *http.Request, q request, res *served, who Identity) error {
	if q.verb == "watch" && !s.mayPass(who) {
		return apierrors.NewMethodNotSupported(q.groupResource(), "watch")
	}
	if connected, _ := s.cfg.Connected(); s.cfg.Cloud == nil || !connected {
		what := "it can only be written"
		if q.verb == "get" || q.verb == "list" || q.verb == "watch" {
			what = "it is not on this node and can only be read"
		}
		return offline(q, fmt.Sprintf("%s: %s in the cloud, which is out of reach; try again when the node is connected", q.full(), what))
	}
	if q.verb == "watch" { // the link came back this moment
		return unavailable(q, q.full()+": the node is connected again: watch again")
	}
	body, err := s.body(w, r)
	if err != nil {
		return err
	}
	if body, err = s.toCloud(r.Context(), q, res, r.Header.Get("Content-Type"), body); err != nil {
		return err
	}
	answer, err := s.ask(r.Context(), q, wire.Request{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery,
		ContentType: r.Header.Get("Content-Type"), Accept: r.Header.Get("Accept"), Token: who.token, Body: body,
	})
	if err != nil {
		return err
	}
	for _, text := range answer.Warnings {
		w.Header().Add("Warning", text)
	}
	w.Header().Set("Content-Type", answer.ContentType)
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body)
	return nil
}

// ask makes one request of the API server through the link.
func (s *Server) ask(ctx context.Context, q request, req wire.Request) (wire.Response, error) {
	text, err := req.Encode()
	if err != nil {
		return wire.Response{}, badRequest("%v", err)
	}
	answer, err := s.cfg.Cloud.Query(ctx, meta.Object{Key: meta.Key{Resource: wire.Call, Name: "request"}, Body: text})
	final := false
	if f, ok := errors.AsType[interface {
		error
		Final() bool
	}](err); ok {
		final = f.Final()
	}
	switch {
	case errors.Is(err, manager.ErrOffline):
		return wire.Response{}, offline(q, "the cloud is out of reach, and may have executed the request or not: "+err.Error())
	case final:
		return wire.Response{}, apierrors.NewForbidden(q.groupResource(), q.name, err)
	case err != nil:
		return wire.Response{}, unavailable(q, err.Error())
	}
	resp, err := wire.DecodeResponse(answer.Body)
	if err != nil {
		return wire.Response{}, fmt.Errorf("the cloud's answer cannot be read: %w", err)
	}
	return resp, nil
}

// toCloud replaces the store's resourceVersion in the client's body by the cloud's. It
// does not change a body without a resourceVersion.
func (s *Server) toCloud(ctx context.Context, q request, res *served, contentType string, body []byte) ([]byte, error) {
	if res == nil || res.outbox || q.name == "" || len(body) == 0 {
		return body, nil
	}
	translate := func(text string) (string, error) { return s.cloudVersion(ctx, res, q, text) }
	switch mediaOf(contentType) {
	case runtime.ContentTypeProtobuf:
		return s.protobufToCloud(body, translate)
	case string(types.JSONPatchType):
		return patchToCloud(body, translate)
	}
	if !bytes.Contains(body, []byte("resourceVersion")) {
		return body, nil
	}
	switch mediaOf(contentType) {
	case string(types.ApplyYAMLPatchType), runtime.ContentTypeYAML:
		converted, err := s.fromYAML(body)
		if err != nil {
			return body, overLimit(err)
		}
		body = converted
	}
	fields, err := parseFields(body)
	if err != nil {
		return body, overLimit(err)
	}
	for _, within := range []string{"metadata", "preconditions"} {
		m, err := parseFields(fields[within])
		if err != nil {
			continue
		}
		text := textOf(m["resourceVersion"])
		if text == "" {
			continue
		}
		version, err := translate(text)
		if err != nil {
			return nil, err
		}
		if m["resourceVersion"], err = json.Marshal(version); err != nil {
			return nil, err
		}
		if fields[within], err = json.Marshal(m); err != nil {
			return nil, err
		}
	}
	return json.Marshal(fields)
}

// patchToCloud does the same for a JSON patch.
func patchToCloud(body []byte, translate func(string) (string, error)) ([]byte, error) {
	var ops []map[string]json.RawMessage
	if err := jsonlimit.Unmarshal(body, &ops); err != nil {
		return body, overLimit(err) // the API server reports every other fault
	}
	changed := false
	for _, op := range ops {
		if string(op["path"]) != `"/metadata/resourceVersion"` {
			continue
		}
		text := textOf(op["value"])
		if text == "" {
			continue
		}
		changed = true
		version, err := translate(text)
		if err != nil {
			return nil, err
		}
		if op["value"], err = json.Marshal(version); err != nil {
			return nil, err
		}
	}
	if !changed {
		return body, nil
	}
	return json.Marshal(ops)
}

// overLimit returns the error for a body that is over a limit of this server, and nil for a
// fault that the API server is to report.
func overLimit(err error) error {
	if e, ok := errors.AsType[*jsonlimit.LimitError](err); ok {
		return badRequest("body: %v", e)
	}
	if apierrors.IsBadRequest(err) {
		return err
	}
	return nil
}

// protobufToCloud does the same for a body in protobuf.
func (s *Server) protobufToCloud(body []byte, translate func(string) (string, error)) ([]byte, error) {
	if err := s.checkProtobuf(body); err != nil {
		return nil, err
	}
	obj, _, err := s.codec.proto.Decode(body, nil, nil)
	if err != nil {
		return body, nil // an unknown kind, or none: the API server decides
	}
	switch o := obj.(type) {
	case *metav1.DeleteOptions:
		if o.Preconditions == nil || o.Preconditions.ResourceVersion == nil {
			return body, nil
		}
		version, err := translate(*o.Preconditions.ResourceVersion)
		if err != nil {
			return nil, err
		}
		o.Preconditions.ResourceVersion = &version
	case object:
		version := o.GetResourceVersion()
		if version == "" {
			return body, nil
		}
		if version, err = translate(version); err != nil {
			return nil, err
		}
		o.SetResourceVersion(version)
	default:
		return body, nil
	}
	var b bytes.Buffer
	if err := s.codec.proto.Encode(obj, &b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// cloudVersion returns the cloud's resourceVersion for one that a client got from this
// server. If the object has another one now, it returns a conflict.
func (s *Server) cloudVersion(ctx context.Context, res *served, q request, text string) (string, error) {
	revision, ours, err := parseVersion(text)
	if err != nil {
		return "", err
	}
	if !ours {
		return text, nil
	}
	it, err := s.load(ctx, res, res.key(q.namespace, q.name))
	if err != nil && !errors.Is(err, errNotThere) {
		return "", err
	}
	if err != nil || it.revision != revision || it.version == "" {
		return "", apierrors.NewConflict(q.groupResource(), q.name, errors.New("the object has been modified; please apply your changes to the latest version and try again"))
	}
	return it.version, nil
}

// textOf returns a string value, and "" for any other type.
func textOf(value json.RawMessage) string {
	var text string
	if len(value) < 2 || value[0] != '"' || len(value) > 4<<10 || json.Unmarshal(value, &text) != nil {
		return ""
	}
	return text
}
