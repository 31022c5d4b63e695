package apiserver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

const issuerURL = "https://kubernetes.default.svc"

// signer makes tokens as the cluster's API server would.
type signer struct{ key *ecdsa.PrivateKey }

func newSigner(t *testing.T) signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return signer{key}
}

func (s signer) issuer(t *testing.T) []byte {
	point, err := s.key.PublicKey.Bytes()
	must(t, err)
	b64 := base64.RawURLEncoding.EncodeToString
	jwks := fmt.Sprintf(`{"keys":[{"kty":"OKP","kid":"of another kind"},{"use":"sig","kty":"EC","kid":"k1","alg":"ES256","crv":"P-256","x":%q,"y":%q}]}`, b64(point[1:33]), b64(point[33:]))
	body, err := json.Marshal(wire.Issuer{Issuer: issuerURL, JWKS: json.RawMessage(jwks)})
	must(t, err)
	return body
}

// token makes a valid token for the pod shop/a, which change may alter.
func (s signer) token(t *testing.T, change func(head, claims map[string]any)) string {
	head := map[string]any{"alg": "ES256", "kid": "k1"}
	claims := map[string]any{
		"iss": issuerURL, "aud": []string{issuerURL}, "sub": "system:serviceaccount:shop:clerk", "exp": time.Now().Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace": "shop", "pod": map[string]any{"name": "a", "uid": "uid-a"}, "serviceaccount": map[string]any{"name": "clerk", "uid": "u"},
		},
	}
	if change != nil {
		change(head, claims)
	}
	enc := func(v any) string {
		b, err := json.Marshal(v)
		must(t, err)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := enc(head) + "." + enc(claims)
	sum := sha256.Sum256([]byte(text))
	r, ss, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	must(t, err)
	signature := append(r.FillBytes(make([]byte, 32)), ss.FillBytes(make([]byte, 32))...)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// guarded is a scene whose API authenticates its clients, with the issuer and a pod
// there.
type guarded struct {
	*scene
	signer
	connected bool
	since     time.Time
}

func newGuarded(t *testing.T) *guarded {
	g := &guarded{signer: newSigner(t)}
	g.scene = newScene(t, func(c *Config) { c.Connected = func() (bool, time.Time) { return g.connected, g.since } })
	g.http = g.serveHTTP(g.Handler())
	g.apply(meta.Op{Key: meta.Down + wire.IssuerKey().Path(), Value: meta.EncodeObject(meta.Object{Version: "1", Body: g.issuer(t)})})
	g.put("pods", "1", pod("a", nil))
	return g
}

func (g *guarded) as(token, path string) (int, string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, g.http.URL+path, nil)
	must(g.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := g.http.Client().Do(req)
	must(g.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(g.t, err)
	return resp.StatusCode, string(b)
}

func TestTokens(t *testing.T) {
	g := newGuarded(t)
	k8s := func(claims map[string]any) map[string]any { return claims["kubernetes.io"].(map[string]any) }
	if code, body := g.as(g.token(t, nil), "/version"); code != http.StatusOK {
		t.Fatalf("a good token: %d %s", code, body)
	}
	for name, change := range map[string]func(head, claims map[string]any){
		"another issuer":         func(_, c map[string]any) { c["iss"] = "https://elsewhere" },
		"another audience":       func(_, c map[string]any) { c["aud"] = "vault" },
		"no pod":                 func(_, c map[string]any) { delete(k8s(c), "pod") },
		"a pod that is not here": func(_, c map[string]any) { k8s(c)["pod"] = map[string]any{"name": "b", "uid": "uid-b"} },
		"the pod before":         func(_, c map[string]any) { k8s(c)["pod"] = map[string]any{"name": "a", "uid": "old"} },
		"the pod's other account": func(_, c map[string]any) {
			k8s(c)["serviceaccount"] = map[string]any{"name": "boss"}
			c["sub"] = "system:serviceaccount:shop:boss"
		},
		"a subject of its own":      func(_, c map[string]any) { c["sub"] = "system:serviceaccount:kube-system:boss" },
		"no end":                    func(_, c map[string]any) { delete(c, "exp") },
		"no signature by algorithm": func(h, _ map[string]any) { h["alg"] = "none" },
		"an algorithm of a secret":  func(h, _ map[string]any) { h["alg"] = "HS256" },
		"a critical extension":      func(h, _ map[string]any) { h["crit"] = []string{"x"} },
		"an unknown key":            func(h, _ map[string]any) { h["kid"] = "k9" },
	} {
		if code, body := g.as(g.token(t, change), "/version"); code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	good := g.token(t, nil)
	for name, bad := range map[string]string{"none": "", "a word": "x", "cut off": good[:len(good)-4], "of another signer": newSigner(t).token(t, nil)} {
		if code, body := g.as(bad, "/version"); code != http.StatusUnauthorized || !strings.Contains(body, `"kind":"Status"`) {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	// An expired token is accepted while no client could get a fresh one.
	old := g.token(t, func(_, c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() })
	for _, tt := range []struct {
		connected bool
		since     time.Duration
		want      int
	}{{false, time.Hour, 200}, {true, time.Minute, 200}, {true, time.Hour, 401}} {
		g.connected, g.since = tt.connected, time.Now().Add(-tt.since)
		if code, body := g.as(old, "/version"); code != tt.want {
			t.Errorf("expired, connected %v since %s: %d %s", tt.connected, tt.since, code, body)
		}
	}
	// But not for ever: otherwise somebody who can cut the link could use it as long as
	// he likes.
	g.connected = false
	for ago, want := range map[time.Duration]int{DefaultExpiredTokens - time.Hour: 200, DefaultExpiredTokens + time.Hour: 401} {
		old := g.token(t, func(_, c map[string]any) { c["exp"] = time.Now().Add(-ago).Unix() })
		if code, body := g.as(old, "/version"); code != want {
			t.Errorf("expired %s ago: %d %s", ago, code, body)
		}
	}
	g.connected, g.since = true, time.Now().Add(-time.Hour)
	g.drop("pods", "shop", "a")
	if code, _ := g.as(good, "/version"); code != http.StatusUnauthorized {
		t.Errorf("after its pod went: %d", code)
	}
	for name, gone := range map[string]string{"good": good, "expired": old} {
		if _, err := g.CheckToken(t.Context(), gone); !errors.Is(err, ErrPodGone) {
			t.Errorf("%s, after its pod went: %v", name, err)
		}
	}
}

// A token may be for another program on the node instead of the API.
func TestAudiences(t *testing.T) {
	g := newGuarded(t)
	other := g.token(t, func(_, c map[string]any) { c["aud"] = "broker" })
	if who, err := g.CheckToken(t.Context(), other, "broker"); err != nil || who.User != "system:serviceaccount:shop:clerk" {
		t.Errorf("%+v, %v", who, err)
	}
	if _, err := g.CheckToken(t.Context(), g.token(t, nil), "broker"); err != nil {
		t.Errorf("a token for the API: %v", err)
	}
	if _, err := g.CheckToken(t.Context(), other, "x", "y"); err == nil || !strings.Contains(err.Error(), "not the API server or x or y") {
		t.Errorf("another audience: %v", err)
	}
}

func TestNoIssuerYet(t *testing.T) {
	g := newGuarded(t)
	g.apply(meta.Op{Key: meta.Down + wire.IssuerKey().Path(), Delete: true})
	if code, body := g.as(g.token(t, nil), "/version"); code != http.StatusUnauthorized || !strings.Contains(body, "has not received") {
		t.Errorf("%d %s", code, body)
	}
}

func TestRBAC(t *testing.T) {
	g := newGuarded(t)
	token := g.token(t, nil)
	g.put("secrets", "1", &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s"}})
	paths := map[string]int{
		"/api/v1/namespaces/shop/pods": 403, "/api/v1/namespaces/shop/pods/a": 403, "/api/v1/pods": 403, "/api/v1/namespaces/shop/secrets/s": 403,
		"/api/v1/namespaces/shop/pods/a/log": 403, "/api/v1/namespaces/shop/pods?watch=1&timeoutSeconds=1": 403, "/apis": 200,
	}
	check := func(when string) {
		t.Helper()
		for path, want := range paths {
			if code, body := g.as(token, path); code != want {
				t.Errorf("%s: %s: %d, want %d: %s", when, path, code, want, body)
			}
		}
	}
	check("with no rules")
	g.put("clusterroles", "1", &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "view"}, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{""}, Resources: []string{"pods"}},
		{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"s"}},
	}})
	g.put("rolebindings", "1", &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "b"},
		RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"}, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "clerk", Namespace: "shop"}}})
	for path := range paths {
		paths[path] = 200
	}
	paths["/api/v1/pods"], paths["/api/v1/namespaces/shop/pods/a/log"] = 403, 403
	paths["/api/v1/namespaces/shop/secrets"], paths["/api/v1/namespaces/shop/secrets/other"] = 403, 403
	check("with a role in the namespace")
	g.apply(meta.Op{Key: meta.Down + "rolebindings/shop/b", Delete: true})
	if code, _ := g.as(token, "/api/v1/namespaces/shop/pods"); code != 403 {
		t.Errorf("after the binding went: %d", code)
	}
}

// TestCertificates uses the real TLS listener's own configuration.
func TestCertificates(t *testing.T) {
	ca, err := join.NewCA("edgekit", time.Now())
	must(t, err)
	sc := newScene(t, func(c *Config) { c.NodeCAs = ca.Pool })
	server := httptest.NewUnstartedServer(sc.Handler())
	cert, err := sc.ca.server("127.0.0.1")
	must(t, err)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	node := func(ca *join.CA, name string) tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		leaf, err := ca.IssueNode(key.Public(), name, time.Now(), time.Hour)
		must(t, err)
		return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: crypto.PrivateKey(key)}
	}
	foreign, err := join.NewCA("foreign", time.Now())
	must(t, err)
	admin, err := sc.ca.issue(&x509.Certificate{Subject: pkixName(adminName), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	must(t, err)
	for name, tt := range map[string]struct {
		cert *tls.Certificate
		want int
	}{
		"none":                      {nil, 401},
		"the node's own":            {ptr(node(ca, "gate-7")), 200},
		"another node's":            {ptr(node(ca, "gate-8")), 401},
		"of another authority":      {ptr(node(foreign, "gate-7")), 401},
		"the administrator's":       {&admin, 200},
		"the server's, as a client": {&cert, 401},
	} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: sc.ca.pool()}}
		if tt.cert != nil {
			transport.TLSClientConfig.Certificates = []tls.Certificate{*tt.cert}
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1/pods", nil)
		must(t, err)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%s: %d, want %d", name, resp.StatusCode, tt.want)
		}
		transport.CloseIdleConnections()
	}
}

func ptr[T any](v T) *T { return &v }

func TestImpersonationIsRefused(t *testing.T) {
	sc := newScene(t, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, sc.http.URL+"/api/v1/pods", nil)
	must(t, err)
	req.Header.Set("Impersonate-User", "somebody")
	resp, err := sc.http.Client().Do(req)
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("%d", resp.StatusCode)
	}
}

func FuzzToken(f *testing.F) {
	f.Add("Bearer a.b.c")
	f.Add("Bearer e30.e30.")
	store := newFuzzServer(f)
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodGet, "/version", nil)
		r.Header.Set("Authorization", header)
		if who, err := store.authenticate(r); err == nil {
			t.Errorf("%q was let in as %s", header, who.User)
		}
	})
}
