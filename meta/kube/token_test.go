package kube_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// refusal is a final error of the cloud.
type refusal struct{}

func (refusal) Error() string { return "forbidden" }
func (refusal) Final() bool   { return true }

// issuer answers token requests with "token-1", "token-2" and so on.
type issuer struct {
	issued int
	err    error
}

func (i *issuer) answer(q meta.Object) (meta.Object, error) {
	if q.Key.Resource != "serviceaccounts/token" {
		return meta.Object{}, errOffline
	}
	if i.err != nil {
		return meta.Object{}, i.err
	}
	var req authenticationv1.TokenRequest
	if err := json.Unmarshal(q.Body, &req); err != nil {
		return meta.Object{}, err
	}
	i.issued++
	req.Status.Token = fmt.Sprintf("token-%d", i.issued)
	req.Status.ExpirationTimestamp = metav1.NewTime(time.Now().Add(time.Duration(*req.Spec.ExpirationSeconds) * time.Second))
	body, err := json.Marshal(req)
	return meta.Object{Key: q.Key, Body: body}, err
}

func request(uid string) *authenticationv1.TokenRequest {
	seconds := int64(3600)
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if uid != "" {
		req.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", Name: "x", UID: "uid-x"}
	}
	return req
}

func TestToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		var cloud issuer
		s.m.answer = cloud.answer
		want := func(when, token string) {
			t.Helper()
			got, err := s.Token(t.Context(), "a", "default", request(""))
			if err != nil || got.Status.Token != token {
				t.Errorf("%s: %v, %v, want %s", when, got, err, token)
			}
		}
		want("at first", "token-1")
		time.Sleep(47 * time.Minute)
		want("before 80 % of its life", "token-1")
		time.Sleep(2 * time.Minute)
		want("after 80 %", "token-2")

		cloud.err = errOffline
		time.Sleep(1000 * time.Hour)
		want("offline, long expired", "token-2")
		cloud.err = nil
		want("back again", "token-3")

		cloud.err = refusal{}
		time.Sleep(time.Hour)
		if got, err := s.Token(t.Context(), "a", "default", request("")); !errors.Is(err, refusal{}) {
			t.Errorf("refused: %v, %v", got, err)
		}
		cloud.err = meta.ErrNotFound
		var missing interface{ NotFound() bool }
		if got, err := s.Token(t.Context(), "a", "default", request("")); !errors.As(err, &missing) {
			t.Errorf("account is gone: %v, %v", got, err)
		}
		cloud.err = errOffline
		if got, err := s.Token(t.Context(), "a", "other", request("")); !errors.Is(err, errOffline) {
			t.Errorf("never had one: %v, %v", got, err)
		}
	})
}

// TestRefreshComesFirst: tokens that are due are renewed as soon as the cloud is in
// reach, before anybody asks for them, and Changed is notified.
func TestRefreshComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		var cloud issuer
		s.m.answer = cloud.answer
		s.put(t, "pods", "a", "x", pod("x", "1"))
		changed := s.Changed(t.Context())
		token := func() string {
			got, err := s.Token(t.Context(), "a", "default", request("uid-x"))
			must(t, err)
			return got.Status.Token
		}
		token()
		synctest.Wait()
		<-changed
		s.Refresh()
		synctest.Wait()
		if cloud.issued != 1 {
			t.Errorf("a fresh token was renewed: %d were issued", cloud.issued)
		}
		cloud.err = errOffline
		time.Sleep(100 * time.Hour)
		s.Refresh()
		synctest.Wait()
		select {
		case <-changed:
			t.Error("told of a change while nothing could be renewed")
		default:
		}
		cloud.err = nil
		s.Refresh()
		synctest.Wait()
		<-changed
		if issued, got := cloud.issued, token(); issued != 2 || got != "token-2" || cloud.issued != 2 {
			t.Errorf("%d issued, then %s, then %d", issued, got, cloud.issued)
		}
	})
}

// TestTokensGoWithTheirPod: tokens are removed with their pod while Run runs, and at the
// next start for pods that were removed meanwhile.
func TestTokensGoWithTheirPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		var cloud issuer
		s.m.answer = cloud.answer
		s.put(t, "pods", "a", "x", pod("x", "1"))
		synctest.Wait()
		for _, uid := range []string{"", "uid-x"} {
			_, err := s.Token(t.Context(), "a", "default", request(uid))
			must(t, err)
		}
		tokens := func() int {
			list, _, err := s.store.List(t.Context(), meta.Local+"tokens/")
			must(t, err)
			return len(list)
		}
		if n := tokens(); n != 2 {
			t.Errorf("%d tokens are kept, want 2", n)
		}
		s.drop(t, "pods/a/x")
		synctest.Wait()
		if n := tokens(); n != 1 {
			t.Errorf("%d tokens are kept after the pod went, want 1", n)
		}
		s.stop()
	})
}

func TestTokenAnswerWithoutToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		for _, body := range []string{"{}", "{", `{"status":{}}`} {
			s.m.answer = func(meta.Object) (meta.Object, error) { return meta.Object{Body: []byte(body)}, nil }
			if got, err := s.Token(t.Context(), "a", "default", nil); err == nil || strings.Contains(err.Error(), "%!") {
				t.Errorf("%s was taken as %v, error %v", body, got, err)
			}
		}
	})
}

// TestRelease notes the release of a pod for as long as the pod is there.
func TestRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		s.put(t, "pods", "a", "x", pod("x", "1"))
		synctest.Wait()
		released := func(uid types.UID) bool {
			t.Helper()
			yes, err := s.Released(t.Context(), uid)
			must(t, err)
			return yes
		}
		if released("uid-x") {
			t.Error("released before it was")
		}
		must(t, s.Release(t.Context(), "uid-x"))
		if !released("uid-x") || released("uid") || released("uid-xy") {
			t.Error("the release is not that of the pod")
		}
		_, err := s.store.Apply(t.Context(), meta.Op{Key: meta.Down + meta.Key{Resource: "pods", Namespace: "a", Name: "x"}.Path(), Delete: true})
		must(t, err)
		synctest.Wait()
		if released("uid-x") {
			t.Error("the note outlives the pod")
		}
	})
}

// TestReleaseOfStaticPod: the release of a static pod lasts over restarts, as long as the pod's
// mirror is there.
func TestReleaseOfStaticPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		mirror := pod("x", "1")
		mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "static-x"}
		body, err := json.Marshal(mirror)
		must(t, err)
		key := meta.Down + meta.Key{Resource: "pods", Namespace: "a", Name: "x"}.Path()
		_, err = store.Apply(t.Context(), meta.Op{Key: key, Value: meta.EncodeObject(meta.Object{Version: "1", Body: body})})
		must(t, err)
		a := startAgent(t, store, &cluster{})
		must(t, a.Release(t.Context(), "static-x"))
		for _, there := range []bool{true, false} {
			a.stop()
			if !there {
				_, err := store.Apply(t.Context(), meta.Op{Key: key, Delete: true})
				must(t, err)
			}
			a = startAgent(t, store, &cluster{})
			synctest.Wait()
			if released, err := a.Released(t.Context(), "static-x"); err != nil || released != there {
				t.Errorf("released %t, %v; the mirror is there: %t", released, err, there)
			}
		}
		a.stop()
		must(t, store.Close())
	})
}
