package e2e

import (
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

//go:embed tokens.yaml
var tokensYAML string

// tokenEnds cuts the node off for longer than a pod's service account token
// lives, which the API server lets be ten minutes at least. The pod keeps the
// token, also when it is restarted, and says so; after the cut the token is fresh
// at once.
func tokenEnds(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	k := newKube(t, s)
	k.run(ctx, tokensYAML, "apply", "-f", "-")
	k.ready(ctx, "bearer", 1)
	pod := k.pods(ctx, "bearer")[0]
	token := func() string {
		text, err := s.Fetch(ctx, site.FromNode, pod.Status.PodIP, "/file?p=/secret/token")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(text)
	}
	first := token()
	if !valid(ctx, k, first) {
		t.Fatal("the API server does not know the pod's token")
	}
	if err := s.Network().Cut(ctx); err != nil {
		t.Fatal(err)
	}
	before := processes(ctx, t, s)
	over := time.NewTimer(time.Until(end(t, first)) + 5*time.Second)
	defer over.Stop()
	<-over.C
	if err := s.KillEdge(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartEdge(tour.Node); err != nil {
		t.Fatal(err)
	}
	const said = "edgekit.io/TokenExpired"
	k.until(ctx, func() error {
		out, err := s.RunOnNode(ctx, "edgectl", "describe", "pod", pod.Name, "-n", tour.Namespace, "--data-dir", s.DataDir(tour.Node))
		if err == nil && !strings.Contains(out, said) {
			err = fmt.Errorf("the node does not say %s: %s", said, out)
		}
		return err
	})
	if got := token(); got != first {
		t.Errorf("the pod lost its token, it has %d bytes now", len(got))
	}
	if err := s.Network().Mend(ctx); err != nil {
		t.Fatal(err)
	}
	mended := time.Now()
	k.until(ctx, func() error {
		if token() == first {
			return errors.New("the pod has the old token still")
		}
		return nil
	})
	t.Logf("the token was fresh %v after the link was back", time.Since(mended).Round(100*time.Millisecond))
	if !valid(ctx, k, token()) {
		t.Error("the API server does not know the fresh token")
	}
	await(ctx, t, s, whole)
	k.until(ctx, func() error {
		now := k.pods(ctx, "bearer")[0]
		for _, c := range now.Status.Conditions {
			if c.Type == said {
				return fmt.Errorf("the pod has condition %s still", said)
			}
		}
		for _, reason := range []string{"TokenExpired", "TokenRenewed"} {
			if k.run(ctx, "", "-n", tour.Namespace, "get", "events", "--field-selector", "reason="+reason+",involvedObject.name="+pod.Name, "-o", "name") == "" {
				return fmt.Errorf("no event %s", reason)
			}
		}
		return nil
	})
	restarted(t, before, processes(ctx, t, s))
	k.run(ctx, tokensYAML, "delete", "-f", "-")
}

// valid asks the API server about a token.
func valid(ctx context.Context, k kube, token string) bool {
	k.t.Helper()
	review := `{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "` + token + `"}}`
	return k.run(ctx, review, "create", "-f", "-", "-o", "jsonpath={.status.authenticated}") == "true"
}

// end is when a token expires.
func end(t *testing.T, token string) time.Time {
	t.Helper()
	parts := strings.Split(token, ".")
	var claims struct {
		Exp int64 `json:"exp"`
	}
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(raw, &claims)
	}
	if err != nil || claims.Exp == 0 {
		t.Fatalf("no end in the token: %v", err)
	}
	return time.Unix(claims.Exp, 0)
}
