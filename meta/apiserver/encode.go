package apiserver

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// as is the shape in which objects are asked for.
type as int

const (
	asIs as = iota
	asTable
	asMetadata
)

// form is how an answer is to be written.
type form struct {
	media string // runtime.ContentTypeJSON, ContentTypeYAML or ContentTypeProtobuf
	as    as
	// discovery is that aggregated discovery is understood.
	discovery bool
}

// maxClauses bounds how much of an Accept header is read.
const maxClauses = 32

// negotiate picks the first clause of an Accept header that can be served. canProto says
// that the requested object has a protobuf form.
func negotiate(accept string, canProto bool) (form, bool) {
	if strings.TrimSpace(accept) == "" {
		return form{media: runtime.ContentTypeJSON}, true
	}
	for i, clause := range strings.Split(accept, ",") {
		if i == maxClauses {
			break
		}
		media, params, err := mime.ParseMediaType(clause)
		if err != nil {
			continue
		}
		f := form{media: media}
		switch media {
		case "*/*", "application/*":
			f.media = runtime.ContentTypeJSON
		case runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeProtobuf:
		default:
			continue
		}
		switch want := params["as"]; {
		case want == "":
		case want == "Table" && params["g"] == metav1.GroupName && params["v"] == "v1":
			f.as = asTable
		case (want == "PartialObjectMetadata" || want == "PartialObjectMetadataList") && params["g"] == metav1.GroupName && params["v"] == "v1":
			f.as = asMetadata
		case want == "APIGroupDiscoveryList" && params["g"] == "apidiscovery.k8s.io" && params["v"] == "v2":
			f.discovery = true
		default:
			continue
		}
		if f.media == runtime.ContentTypeProtobuf && (f.as == asTable || f.as == asIs && !canProto) {
			continue
		}
		return f, true
	}
	return form{}, false
}

func notAcceptable() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are served: application/json, application/yaml, application/vnd.kubernetes.protobuf",
	}}
}

// codec writes objects in the three forms.
type codec struct {
	json, yaml *jsonserializer.Serializer
	proto      *protobuf.Serializer
	raw        *protobuf.RawSerializer // frames of a watch
}

func newCodec(s *runtime.Scheme) *codec {
	return &codec{
		json:  jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, s, s, jsonserializer.SerializerOptions{}),
		yaml:  jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, s, s, jsonserializer.SerializerOptions{Yaml: true}),
		proto: protobuf.NewSerializer(s, s),
		raw:   protobuf.NewRawSerializer(s, s),
	}
}

func (c *codec) encoder(media string) runtime.Encoder {
	switch media {
	case runtime.ContentTypeProtobuf:
		return c.proto
	case runtime.ContentTypeYAML:
		return c.yaml
	}
	return c.json
}

// write sends an object as the whole answer.
func (c *codec) write(w http.ResponseWriter, media string, code int, obj runtime.Object) {
	var b bytes.Buffer
	if err := c.encoder(media).Encode(obj, &b); err != nil {
		media, code = runtime.ContentTypeJSON, http.StatusInternalServerError
		b.Reset()
		_ = json.NewEncoder(&b).Encode(statusOf(err)) // a Status has a JSON form
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes()) // a client that is gone needs no answer
}

// fail sends err as a Status in the form that was asked for.
func (c *codec) fail(w http.ResponseWriter, r *http.Request, err error) {
	f, ok := negotiate(r.Header.Get("Accept"), true)
	if !ok {
		f.media = runtime.ContentTypeJSON
	}
	status := statusOf(err)
	if status.Code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if status.Code == http.StatusTooManyRequests && status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	c.write(w, f.media, int(status.Code), status)
}

// partial returns an object's metadata as a PartialObjectMetadata.
func partial(obj object) *metav1.PartialObjectMetadata {
	p := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: metav1.SchemeGroupVersion.String()}}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		fields, _, _ := unstructured.NestedMap(u.Object, "metadata")
		// The API server has accepted these fields, so the conversion does not fail.
		_ = runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{"metadata": fields}, p)
		return p
	}
	if m, ok := obj.(metav1.ObjectMetaAccessor); ok {
		if meta, ok := m.GetObjectMeta().(*metav1.ObjectMeta); ok {
			meta.DeepCopyInto(&p.ObjectMeta)
		}
	}
	return p
}

// kindless is an object without its kind, as the items of a typed list are.
func kindless(obj object, typed bool) runtime.Object {
	if typed {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	return obj
}
