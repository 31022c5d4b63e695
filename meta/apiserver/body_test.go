package apiserver

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/edgekit/edgekit/hub/decodetest"
	"github.com/edgekit/edgekit/meta/memstore"
)

// TestRoomForBodies: bodies of 3 MiB come at once. Eight are held, the ninth waits and is
// asked to come again, and small ones are accepted as long as there is any room.
func TestRoomForBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		s, err := New(Config{Store: store, Node: "gate-7"})
		must(t, err)
		enter := func(n int64) (func(), error) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", http.NoBody)
			r.ContentLength = n
			return s.room(httptest.NewRecorder(), r)
		}
		var leave []func()
		for i := range 8 {
			size := int64(3 << 20)
			if i == 0 {
				size = -1 // without a Content-Length
			}
			release, err := enter(size)
			must(t, err)
			leave = append(leave, release)
		}
		begin := time.Now()
		if _, err := enter(1); !apierrors.IsTooManyRequests(err) || time.Since(begin) != bodyWait {
			t.Errorf("the ninth, after %v: %v", time.Since(begin), err)
		}
		if release, err := enter(0); err != nil {
			t.Errorf("a request without a body: %v", err)
		} else {
			release()
		}
		if _, err := enter(3<<20 + 1); !apierrors.IsRequestEntityTooLargeError(err) {
			t.Errorf("one that says it is too large: %v", err)
		}
		leave[0]()
		for range 100 {
			release, err := enter(100)
			must(t, err)
			leave = append(leave, release)
		}
		for _, release := range leave[1:] {
			release()
		}
		if !s.bodies.TryAcquire(8 * 3 << 20) {
			t.Error("room was not given back")
		}
	})
}

// TestAttackDecoders searches for the bodies that cost most memory to check.
func TestAttackDecoders(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	s, err := New(Config{Store: store, Node: "gate-7"})
	must(t, err)
	res := s.catalog.find("", "v1", "pods")
	q := request{verb: "update", version: "v1", resource: "pods", namespace: "a", name: "b"}
	units := []string{`{}`, `[]`, `""`, `"ab"`, `0`, `{"a":{}}`, `{"op":"a"}`, `[[]]`, `{"path":"/metadata/resourceVersion","value":"1"}`}
	to := func(name, media, before, after string) decodetest.Case {
		return decodetest.Case{Name: name, Before: before, Between: ",", After: after, Units: units, Tokens: decodetest.JSONTokens(),
			Decode: func(b []byte) { _, _ = s.toCloud(t.Context(), q, res, media, b) }}
	}
	decodetest.Search(t,
		to("api_put", runtime.ContentTypeJSON, `{"metadata":{"resourceVersion":""},"a":[`, `]}`),
		to("api_json_patch", "application/json-patch+json", `[`, `]`),
		to("api_put_metadata", runtime.ContentTypeJSON, `{"metadata":{"resourceVersion":"","a":[`, `]}}`),
		decodetest.Case{Name: "api_event", Before: `{"apiVersion":"v1","kind":"Event","metadata":{"ownerReferences":[`, Between: ",", After: `]}}`, Units: units, Tokens: decodetest.JSONTokens(),
			Decode: func(b []byte) { _ = s.decodeBody(runtime.ContentTypeJSON, b, &corev1.Event{}) }},
		decodetest.Case{Name: "api_yaml", Whole: largeYAML(), Decode: func(b []byte) { _, _ = s.fromYAML(b) }},
		decodetest.Case{Name: "api_event_proto", Units: []string{"\x0a\x00", "\x0a\x02\x6a\x00", "\x12\x02ab", "\x0a\x06\x6a\x00\x6a\x00\x6a\x00"},
			Wrap: func(b []byte) []byte {
				envelope := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "Event"}, Raw: b}
				text, err := envelope.Marshal()
				must(t, err)
				return append([]byte("k8s\x00"), text...)
			},
			Decode: func(b []byte) { _ = s.decodeBody(runtime.ContentTypeProtobuf, b, &corev1.Event{}) }},
	)
}

// largeYAML returns documents that repeat one line after another first line, of the sizes
// at which the parser's buffers grow.
func largeYAML() [][]byte {
	var out [][]byte
	for _, lines := range [][2]string{
		{"", "- a\n"}, {"", "- - - - a\n"}, {"", "k%d: a\n"}, {"", "k%d:\n  a: b\n"}, {"", "- a: b\n"}, {"", "- [a,a,a,a]\n"}, {"", "- []\n"},
		{"", "k%d: |\n  a\n"}, {"k: |\n", "  some text: of [ a {line\n"}, {"k: |\n", "  <\n"}, {"k: |\n", "  <<<<<<<<<<<<<<<<<<\n"}, {"k: >\n", "  a\n"},
		{"k: |\n  a\n", "\n"}, {"", "- " + strings.Repeat("a b ", 500) + "\n"}, {"", "- \"" + strings.Repeat(`\x01`, 200) + "\"\n"}, {"k: a\n", "  a\n"},
		{"k: |\n", "  {\"name\": \"value of it\", \"other\": [1, 2, 3]},\n"}, {"", "- '" + strings.Repeat("\u00e9", 500) + "'\n"},
		{"k: |\n         \n", "  - a\n"}, {"a: b\nk: |\n", "- a\n"}, {"k: \"a: |\n", "  - a\n"}, {"k: [b, |\n", "  - a\n"},
	} {
		for _, size := range []int{freeYAML + 1, 90 << 10, 140 << 10, 300 << 10, 1050 << 10, 2900 << 10} {
			b := []byte(lines[0])
			for i := 0; len(b) < size; i++ {
				b = append(b, strings.Replace(lines[1], "%d", strconv.Itoa(i), 1)...)
			}
			out = append(out, b)
		}
	}
	return out
}

// TestLargeYAML: ConfigMaps that are mostly text are accepted whatever their size, and
// objects of many small values up to freeYAML.
func TestLargeYAML(t *testing.T) {
	s := &Server{}
	text := strings.Repeat("    server { listen 80; location / { proxy_pass \"http://a\"; } } # it's: text\n", 4000)
	object := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: {}\n  finalizers: [\"a/b\", c]\n  annotations:\n    \"acme.example/note\": 'it''s'\n" +
		"data:\n  # the configuration\n  nginx.conf: |\n" + text + "\n  other: >-\n" + text + "  last: x\n"
	out, err := s.fromYAML([]byte(object))
	must(t, err)
	var cm corev1.ConfigMap
	must(t, json.Unmarshal(out, &cm))
	if len(cm.Data["nginx.conf"]) < 280_000 || cm.Data["last"] != "x" || cm.Annotations["acme.example/note"] != "it's" {
		t.Errorf("%d bytes: %.300s", len(cm.Data["nginx.conf"]), out)
	}
	small := "items:\n" + strings.Repeat("- a: &x b\n  c: *x\n", freeYAML/20)
	if _, err := s.fromYAML([]byte(small)); err != nil {
		t.Errorf("any YAML of %d bytes: %v", len(small), err)
	}
	for says, doc := range map[string]string{
		"so many short values":                 "items:\n" + strings.Repeat("- a: b\n", freeYAML/6),
		"YAML line 2: the memory to parse":     "items:\n- &x a\n" + object,
		"send the object as JSON (kubectl":     strings.Repeat("- a: {b: c}\n", freeYAML/6),
		"of up to 65536 bytes may be any YAML": "a: \"\n" + object,
	} {
		if _, err := s.fromYAML([]byte(doc)); err == nil || !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// TestBodiesOfBombs: clients send bodies that would take much memory. Each error says
// what is wrong and what to do.
func TestBodiesOfBombs(t *testing.T) {
	sc := newScene(t, nil)
	sc.connect(nil)
	many := strings.Repeat("{},", 20_000)
	for name, x := range map[string]struct{ method, path, media, body, says string }{
		"put":        {http.MethodPut, "/api/v1/namespaces/shop/pods/a", "application/json", `{"resourceVersion":[[` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `]]}`, "more than 200 levels deep"},
		"json patch": {http.MethodPatch, "/api/v1/namespaces/shop/pods/a", "application/json-patch+json", `[` + many + `{}]`, "too many elements"},
		"yaml":       {http.MethodPatch, "/api/v1/namespaces/shop/pods/a", "application/apply-patch+yaml", "metadata: {resourceVersion: a}\nb: [" + strings.Repeat("a,", 40_000) + "a]", "send the object as JSON"},
		"event":      {http.MethodPost, "/api/v1/namespaces/shop/events", "application/json", `{"apiVersion":"v1","kind":"Event","metadata":{"ownerReferences":[` + many + `{}]}}`, "metadata.ownerReferences"},
		"review":     {http.MethodPost, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "application/json", `{"metadata":{"managedFields":[` + many + `{}]}}`, "metadata.managedFields"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), x.method, sc.http.URL+x.path, strings.NewReader(x.body))
			must(t, err)
			req.Header.Set("Content-Type", x.media)
			resp, err := sc.http.Client().Do(req)
			must(t, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			must(t, err)
			if resp.StatusCode != http.StatusBadRequest || !json.Valid(text) || !strings.Contains(string(text), x.says) {
				t.Errorf("status %d: %.300s", resp.StatusCode, text)
			}
		})
	}
}
