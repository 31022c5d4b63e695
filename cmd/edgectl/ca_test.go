package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/hub/join"
)

// TestRotate goes through the stages of a change of authorities by the commands
// that an operator types: each says what comes next, each refuses to come too
// early, and the list tells where things stand.
func TestRotate(t *testing.T) {
	ctx := t.Context()
	cli := &cli{Kubeconfig: apiServer(t), Namespace: "edgekit-system"}
	store, err := cli.identity(ctx)
	if err != nil {
		t.Fatal(err)
	}
	first, err := store.Authorities(ctx)
	if err != nil {
		t.Fatal(err)
	}
	enrol(t, store, first.Issuer)
	run := func(f func(program.Output) error) (string, error) {
		var out bytes.Buffer
		err := f(program.Output{Writer: &out})
		return out.String(), err
	}
	publish := func(o program.Output) error { return (&caPublish{}).Run(ctx, cli, o) }
	change := func(o program.Output) error { return caSwitch{}.Run(ctx, cli, o) }
	retire := func(force bool) func(program.Output) error {
		return func(o program.Output) error { return (&caRetire{Force: force}).Run(ctx, cli, o) }
	}
	forget := func(pin string) func(program.Output) error {
		return func(o program.Output) error { return (&caForget{Pin: pin}).Run(ctx, cli, o) }
	}
	old := first.Issuer.Pin()
	for _, step := range []struct {
		name   string
		do     func(program.Output) error
		early  bool   // it is refused
		says   string // the error, or what is printed
		stages int    // that the list has after it
	}{
		{"switch before publish", change, true, "publish one first", 1},
		{"retire before switch", retire(true), true, "switch to a new one first", 1},
		{"forget the one that signs", forget(old), true, "signs now", 1},
		{"publish", publish, false, "edgectl ca rotate switch", 2},
		{"publish twice", publish, true, "published already", 2},
		{"switch", change, false, "edgectl ca rotate retire", 2},
		{"retire while a node needs it", retire(false), true, "edge-1", 2},
		{"retire all the same", retire(true), false, "edgectl ca rotate forget", 2},
		{"forget", forget(old), false, "forgotten", 1},
		{"forget twice", forget(old), true, "no authority has the pin", 1},
	} {
		said, err := run(step.do)
		if err != nil {
			said = err.Error()
		}
		if (err != nil) != step.early || !strings.Contains(said, step.says) {
			t.Errorf("%s: %q, %v", step.name, said, err)
		}
		list, err := run(func(o program.Output) error { return (&caList{}).Run(ctx, cli, o) })
		if err != nil || strings.Count(list, "\n") != 1+step.stages {
			t.Errorf("%s: %v, then the list is\n%s", step.name, err, list)
		}
	}
	if last, err := store.Authorities(ctx); err != nil || last.Issuer.Pin() == old {
		t.Errorf("the old one signs, %v", err)
	}
}

// enrol makes a node with a certificate of that authority.
func enrol(t *testing.T, store *nodeidentity.Store, ca *join.CA) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.IssueNode(key.Public(), "edge-1", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Claim(t.Context(), "edge-1", join.KeyHash(cert)); err != nil {
		t.Fatal(err)
	}
	if err := store.Issued(t.Context(), "edge-1", cert, ca.Pin()); err != nil {
		t.Fatal(err)
	}
}

// apiServer serves Secrets as far as edgectl uses them, and gives a kubeconfig.
func apiServer(t *testing.T) (kubeconfig string) {
	t.Helper()
	secrets := fake.NewClientset().CoreV1().Secrets("edgekit-system")
	const path = "/api/v1/namespaces/edgekit-system/secrets"
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, o runtime.Object, err error) {
		w.Header().Set("Content-Type", "application/json")
		if status, ok := errors.AsType[*apierrors.StatusError](err); ok {
			w.WriteHeader(int(status.ErrStatus.Code))
			_ = json.NewEncoder(w).Encode(&status.ErrStatus)
			return
		}
		_ = json.NewEncoder(w).Encode(o)
	}
	sent := func(r *http.Request) *corev1.Secret {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode(b, nil, nil)
		if err != nil {
			t.Error(err)
		}
		return o.(*corev1.Secret)
	}
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		o, err := secrets.List(r.Context(), metav1.ListOptions{LabelSelector: r.FormValue("labelSelector")})
		answer(w, o, err)
	})
	mux.HandleFunc("GET "+path+"/{name}", func(w http.ResponseWriter, r *http.Request) {
		o, err := secrets.Get(r.Context(), r.PathValue("name"), metav1.GetOptions{})
		answer(w, o, err)
	})
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		o, err := secrets.Create(r.Context(), sent(r), metav1.CreateOptions{})
		answer(w, o, err)
	})
	mux.HandleFunc("PUT "+path+"/{name}", func(w http.ResponseWriter, r *http.Request) {
		o, err := secrets.Update(r.Context(), sent(r), metav1.UpdateOptions{})
		answer(w, o, err)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["c"] = &clientcmdapi.Cluster{Server: s.URL}
	cfg.Contexts["c"] = &clientcmdapi.Context{Cluster: "c"}
	cfg.CurrentContext = "c"
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*cfg, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}
