package twins_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/internal/runguard"
	"github.com/edgekit/edgekit/controller/twins"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// world is a server whose tokens are users' names; user "alice" may read namespace plant, user
// "root" everything.
type world struct {
	*twins.Server
	store *twins.Store
	front tls.Certificate
	other tls.Certificate // of another authority
}

func newWorld(t testing.TB, cfg twins.StoreConfig) *world {
	t.Helper()
	store, err := twins.NewStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{store: store}
	var ca []byte
	ca, w.front = authority(t, "front-proxy-client")
	_, w.other = authority(t, "front-proxy-client")
	client := fake.NewClientset(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "extension-apiserver-authentication"},
		Data: map[string]string{
			"requestheader-client-ca-file": string(ca), "requestheader-allowed-names": `["front-proxy-client"]`,
			"requestheader-username-headers": `["X-Remote-User"]`, "requestheader-group-headers": `["X-Remote-Group"]`,
			"requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
		},
	})
	client.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview)
		review.Status.Authenticated = review.Spec.Token != "bad"
		review.Status.User.Username = review.Spec.Token
		return true, review, nil
	})
	client.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
		at := review.Spec.ResourceAttributes
		review.Status.Allowed = review.Spec.User == "root" || review.Spec.User == "alice" && at.Namespace == "plant" && at.Group == twins.Group && at.Resource == "twins"
		return true, review, nil
	})
	w.Server, err = twins.New(twins.Config{Store: store, Cloud: client, Certificate: func() (*tls.Certificate, error) { return &w.other, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// authority makes an authority and a certificate of it for a client.
func authority(t testing.TB, name string) (ca []byte, client tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(cn string, isCA bool, parent *x509.Certificate) []byte {
		c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: isCA, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
		if parent == nil {
			parent = c
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	root := issue("ca", true, nil)
	parent, err := x509.ParseCertificate(root)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root}), tls.Certificate{Certificate: [][]byte{issue(name, false, parent)}, PrivateKey: key}
}

func (w *world) put(namespace, name, value string) {
	w.store.Put(twins.Report{Namespace: namespace, Name: name, UID: "u", Node: "edge-1", Labels: map[string]string{"line": name[:1]}, Received: time.Now(),
		Status: fmt.Appendf(nil, `{"state":"online","twins":[{"propertyName":"t","reported":{"value":%q}}]}`, value)})
}

func (w *world) do(user, path, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/apis/twins.edgekit.io/v1"+path, nil)
	if user != "" {
		r.Header.Set("Authorization", "Bearer "+user)
	}
	r.Header.Set("Accept", accept)
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

const table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

func TestRead(t *testing.T) {
	w := newWorld(t, twins.StoreConfig{})
	w.put("plant", "a1", "7")
	w.put("plant", "b1", "8")
	w.put("office", "c1", "9")
	for path, want := range map[string]struct {
		user string
		code int
		text string
	}{
		"/twins": {"root", 200, `"c1"`}, "/namespaces/plant/twins": {"alice", 200, `"value":"8"`}, "/namespaces/plant/twins/a1": {"alice", 200, `"value":"7"`},
		"/namespaces/plant/twins/none": {"alice", 404, "not found"}, "/namespaces/office/twins": {"alice", 403, "may not list"}, "/twins/": {"alice", 403, "in the cluster"},
		"/namespaces/plant/twins?labelSelector=line%3Db": {"alice", 200, `"b1"`}, "/namespaces/plant/twins?fieldSelector=metadata.name%3Da1": {"alice", 200, `"a1"`},
		"/namespaces/plant/twins?fieldSelector=spec.a%3D1": {"alice", 400, "not supported"}, "/namespaces/plant/twins?labelSelector=((": {"alice", 400, "labelSelector"},
		"/namespaces/plant/twins/a1/status": {"alice", 404, "not served"}, "": {"anyone", 200, "APIResourceList"}, "/namespaces/plant/twins?watch=1&resourceVersion=5": {"alice", 410, "list again"},
		"/namespaces/plant/twins?watch=1&resourceVersion=x": {"alice", 400, "resourceVersion"}, "/pods": {"root", 404, "not served"}, "/namespaces//twins": {"root", 404, ""},
	} {
		rec := w.do(want.user, path, "application/json")
		if rec.Code != want.code || !strings.Contains(rec.Body.String(), want.text) {
			t.Errorf("%s by %s: %d %s", path, want.user, rec.Code, rec.Body)
		}
		if strings.Contains(path, "Selector=line") && strings.Contains(rec.Body.String(), `"a1"`) {
			t.Errorf("%s does not select: %s", path, rec.Body)
		}
	}
	for user, code := range map[string]int{"": 401, "bad": 401, strings.Repeat("x", 20000): 401} {
		if rec := w.do(user, "/twins", ""); rec.Code != code {
			t.Errorf("user %.10q: %d", user, rec.Code)
		}
	}
	var got metav1.Table
	if rec := w.do("root", "/namespaces/plant/twins", table); json.Unmarshal(rec.Body.Bytes(), &got) != nil || len(got.Rows) != 2 || len(got.ColumnDefinitions) != 5 ||
		got.Rows[0].Cells[2] != "online" || got.Rows[0].Cells[4] != "t=7" {
		t.Errorf("table %s", rec.Body)
	}
	if rec := w.do("root", "/twins", "text/html"); rec.Code != http.StatusNotAcceptable {
		t.Errorf("as HTML: %d", rec.Code)
	}
	r := httptest.NewRequest(http.MethodDelete, "/apis/twins.edgekit.io/v1/namespaces/plant/twins/a1", nil)
	r.Header.Set("Authorization", "Bearer root")
	rec := httptest.NewRecorder()
	if w.ServeHTTP(rec, r); rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("delete: %d", rec.Code)
	}
	var twin twins.Twin
	if rec := w.do("root", "/namespaces/plant/twins/a1", ""); json.Unmarshal(rec.Body.Bytes(), &twin) != nil || twin.Status.State != "online" || twin.Node != "edge-1" || twin.Received.IsZero() {
		t.Errorf("twin %+v", twin)
	}
}

// serve runs the server on a port of its own.
func (w *world) serve(t *testing.T) (url string, client func(tls.Certificate) *http.Client) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := w.Run(context.Background(), l); !errors.Is(err, runguard.ErrStarted) {
			t.Errorf("a second Run: %v", err)
		}
	})
	return "https://" + l.Addr().String(), func(cert tls.Certificate) *http.Client {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }}}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
}

// TestFrontProxy: only the API server's front proxy may name users in headers.
func TestFrontProxy(t *testing.T) {
	w := newWorld(t, twins.StoreConfig{})
	w.put("plant", "a1", "7")
	url, client := w.serve(t)
	get := func(cert tls.Certificate, user string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/apis/twins.edgekit.io/v1/namespaces/plant/twins", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Remote-User", user)
		resp, err := client(cert).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	hubtest.Until(t, "the front proxy's authority is read", func() bool { return get(w.front, "alice") == http.StatusOK })
	for _, tt := range []struct {
		cert tls.Certificate
		user string
		want int
	}{{w.front, "bob", 403}, {w.front, "", 401}, {w.other, "alice", 401}, {tls.Certificate{}, "alice", 401}} {
		if got := get(tt.cert, tt.user); got != tt.want {
			t.Errorf("%q with %d certificates: %d, want %d", tt.user, len(tt.cert.Certificate), got, tt.want)
		}
	}
}

// TestWatch: a watch from a list's version gives each change once, with its type, and ends with
// the server.
func TestWatch(t *testing.T) {
	w := newWorld(t, twins.StoreConfig{})
	w.put("plant", "a1", "1")
	w.put("office", "x", "1")
	url, client := w.serve(t)
	var list struct{ Metadata metav1.ListMeta }
	if err := json.Unmarshal(w.do("root", "/namespaces/plant/twins", "").Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	w.put("plant", "b1", "2")
	w.put("plant", "a1", "3")
	w.put("office", "x", "2")
	w.store.Delete("plant", "b1")
	open := func(query, accept string) func() (string, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/apis/twins.edgekit.io/v1/namespaces/plant/twins?watch=1&"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer root")
		r.Header.Set("Accept", accept)
		resp, err := client(tls.Certificate{}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		lines := bufio.NewReader(resp.Body)
		return func() (string, string) {
			t.Helper()
			line, err := lines.ReadBytes('\n')
			if err != nil {
				t.Fatal(err)
			}
			var e struct {
				Type   string
				Object json.RawMessage
			}
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			return e.Type, string(e.Object)
		}
	}
	expect := func(next func() (string, string), kind, text string) {
		t.Helper()
		if k, o := next(); k != kind || !strings.Contains(o, text) {
			t.Errorf("event %s %s, want %s with %s", k, o, kind, text)
		}
	}
	next := open("resourceVersion="+list.Metadata.ResourceVersion, "")
	expect(next, "MODIFIED", `"value":"3"`)
	expect(next, "DELETED", `"b1"`)
	initial := open("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", "")
	expect(initial, "ADDED", `"a1"`)
	expect(initial, "BOOKMARK", `"k8s.io/initial-events-end":"true"`)
	selected := open("resourceVersion="+list.Metadata.ResourceVersion+"&labelSelector=line%3Da", "")
	expect(selected, "MODIFIED", `"value":"3"`)
	rows := open("", table)
	expect(rows, "ADDED", `"columnDefinitions":[{`)
	w.put("plant", "c1", "4")
	w.put("plant", "a1", "5")
	expect(next, "ADDED", `"c1"`)
	expect(next, "MODIFIED", `"value":"5"`)
	expect(initial, "ADDED", `"c1"`)
	expect(selected, "MODIFIED", `"value":"5"`)
	expect(rows, "ADDED", `"t=4"`)
	expect(rows, "MODIFIED", `"columnDefinitions":null`)
	w.store.Delete("plant", "a1")
	expect(selected, "DELETED", `"a1"`)
}

// deadlines is a client that reads, and remembers the deadline of writes.
type deadlines struct {
	*httptest.ResponseRecorder
	last time.Time
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.last = at
	return nil
}

// TestIdleWatch: a watch without events has no deadline. With HTTP/2 it would end there.
func TestIdleWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, twins.StoreConfig{})
		w.put("plant", "a1", "7")
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/apis/twins.edgekit.io/v1/twins?watch=1", nil)
		r.Header.Set("Authorization", "Bearer root")
		client := &deadlines{ResponseRecorder: httptest.NewRecorder(), last: time.Now()}
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.ServeHTTP(client, r)
		}()
		synctest.Wait()
		if !strings.Contains(client.Body.String(), "ADDED") || !client.last.IsZero() {
			t.Errorf("deadline %s after %s", client.last, client.Body)
		}
		cancel()
		<-done
	})
}

// TestBounds: the store keeps no more bytes than it may, and a device without room is there
// without values.
func TestBounds(t *testing.T) {
	w := newWorld(t, twins.StoreConfig{MaxBytes: 1000})
	for i := range 10 {
		w.store.Put(twins.Report{Namespace: "plant", Name: fmt.Sprint("d", i), Status: fmt.Appendf(nil, `{"state":%q}`, strings.Repeat("x", 300))})
	}
	if got := strings.Count(w.do("root", "/twins", "").Body.String(), `"truncated":true`); got != 7 {
		t.Errorf("%d truncated", got)
	}
	for i := range 10 {
		w.store.Put(twins.Report{Namespace: "plant", Name: fmt.Sprint("d", i), Status: []byte(`{}`)})
	}
	if got := strings.Count(w.do("root", "/twins", "").Body.String(), `"truncated":true`); got != 0 {
		t.Errorf("%d truncated when there is room", got)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("/namespaces/plant/twins", "labelSelector=a%3Db&watch=0", table)
	f.Add("/twins", "fieldSelector=metadata.name%3Da", "*/*;q=1,,;")
	w := newWorld(f, twins.StoreConfig{})
	w.put("plant", "a1", "7")
	f.Fuzz(func(t *testing.T, path, query, accept string) {
		if strings.Contains(query, "watch") {
			return // it would last
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Path, r.URL.RawQuery = "/apis/twins.edgekit.io/v1"+path, query
		r.Header.Set("Authorization", "Bearer root")
		r.Header.Set("Accept", accept)
		w.ServeHTTP(httptest.NewRecorder(), r)
	})
}

func BenchmarkPut(b *testing.B) {
	store, err := twins.NewStore(twins.StoreConfig{})
	if err != nil {
		b.Fatal(err)
	}
	status := []byte(`{"state":"online","twins":[{"propertyName":"t","reported":{"value":"1"}}]}`)
	names := make([]string, 10000)
	for i := range names {
		names[i] = fmt.Sprint("d", i)
	}
	for i := 0; b.Loop(); i++ {
		store.Put(twins.Report{Namespace: "plant", Name: names[i%len(names)], Status: status})
	}
}

func Example() {
	store, err := twins.NewStore(twins.StoreConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := twins.New(twins.Config{
		Store: store, Cloud: fake.NewClientset(),
		Certificate: func() (*tls.Certificate, error) { return nil, errors.New("no certificate") },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// The API server asks; anybody else needs a token.
	rec := httptest.NewRecorder()
	server.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/apis/twins.edgekit.io/v1/twins", nil))
	var status metav1.Status
	body, _ := io.ReadAll(rec.Body)
	fmt.Println(rec.Code, json.Unmarshal(body, &status), status.Reason)
	// Output: 401 <nil> Unauthorized
}

// TestOpenAPI reads the document as an API server does.
func TestOpenAPI(t *testing.T) {
	w := newWorld(t, twins.StoreConfig{})
	get := func(user, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		if user != "" {
			r.Header.Set("Authorization", "Bearer "+user)
		}
		out := httptest.NewRecorder()
		w.ServeHTTP(out, r)
		return out
	}
	if got := get("", "/openapi/v3"); got.Code != http.StatusUnauthorized {
		t.Errorf("without a user: %d", got.Code)
	}
	var index struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	if err := json.Unmarshal(get("mallory", "/openapi/v3").Body.Bytes(), &index); err != nil {
		t.Fatal(err)
	}
	raw := get("mallory", index.Paths["apis/twins.edgekit.io/v1"].ServerRelativeURL).Body.Bytes()
	var doc struct {
		OpenAPI    string
		Paths      map[string]any
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Properties map[string]any }
			}
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	properties := doc.Components.Schemas["io.edgekit.twins.v1.Twin"].Properties
	var fields map[string]any // of a Twin as it is served
	w.put("plant", "pump", "7")
	if err := json.Unmarshal(get("root", "/apis/twins.edgekit.io/v1/namespaces/plant/twins/pump").Body.Bytes(), &fields); err != nil {
		t.Fatal(err)
	}
	for name := range fields {
		if _, ok := properties[name]; !ok {
			t.Errorf("the document has no field %q: %s", name, raw)
		}
	}
	if doc.OpenAPI != "3.0.0" || len(doc.Paths) != 3 || properties["status"].Properties["twins"] == nil {
		t.Errorf("the document is %s", raw)
	}
}
