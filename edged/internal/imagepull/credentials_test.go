package imagepull

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/image"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// registryOf is a runtime whose registry takes one user; "" takes anyone.
type registryOf struct {
	*runtimetest.Runtime
	user string

	mu    sync.Mutex
	users []string // that tried
}

func (r *registryOf) PullImage(ctx context.Context, ref string, auth *runtime.ImageAuth, box *runtime.SandboxConfig) (string, error) {
	user := ""
	if auth != nil {
		user = auth.Username
	}
	r.mu.Lock()
	r.users = append(r.users, user)
	r.mu.Unlock()
	if r.user != "" && user != r.user {
		return "", errors.New("denied")
	}
	return r.Runtime.PullImage(ctx, ref, auth, box)
}

// tried gives the users that tried since the last call.
func (r *registryOf) tried() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.users
	r.users = nil
	return out
}

// secretOf is a pull secret whose user may change.
type secretOf struct{ user string }

func (s *secretOf) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	out := &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{
		corev1.DockerConfigJsonKey: []byte(`{"auths":{"registry.example.com":{"username":"` + s.user + `","password":"x"}}}`),
	}}
	out.Namespace, out.Name, out.UID = namespace, name, "uid"
	return out, nil
}

type source func(pod *corev1.Pod) ([]image.Credential, error)

func (s source) Credentials(_ context.Context, pod *corev1.Pod, _ image.Ref) ([]image.Credential, error) {
	return s(pod)
}

func withSecret() *corev1.Pod {
	pod := podtest.New(corev1.RestartPolicyAlways, "a")
	pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
	return pod
}

const imageName = "registry.example.com/app:1"

// TestCredentialSources tries the pod's secrets, then the sources in order; one that fails
// is left out.
func TestCredentialSources(t *testing.T) {
	rt := &registryOf{Runtime: runtimetest.New(), user: "second"}
	p := newPuller(t, rt.Runtime)
	p.cfg.Images, p.cfg.Secrets = rt, &secretOf{user: "pod"}
	p.cfg.Credentials = []CredentialSource{
		source(func(*corev1.Pod) ([]image.Credential, error) { return nil, errors.New("damaged") }),
		source(func(*corev1.Pod) ([]image.Credential, error) { return []image.Credential{{Username: "first"}}, nil }),
		source(func(pod *corev1.Pod) ([]image.Credential, error) {
			return []image.Credential{{Username: "second", Source: image.Source{Kind: image.KindServiceAccount, UID: "u", Namespace: pod.Namespace, Name: "robot"}}}, nil
		}),
	}
	want := Request{Pod: withSecret(), Container: "a", Key: "a", Image: imageName, Policy: corev1.PullIfNotPresent, BackOffs: &BackOffs{}}
	if _, fail := p.Ensure(t.Context(), want); fail != nil || !slices.Equal(rt.tried(), []string{"pod", "first", "second"}) {
		t.Fatalf("%+v", fail)
	}
	// The image is there now: who has the account may use it, another pod pulls, and fails.
	if _, fail := p.Ensure(t.Context(), want); fail != nil || len(rt.tried()) > 0 {
		t.Errorf("the pod itself: %+v", fail)
	}
	p.cfg.Credentials = nil
	if _, fail := p.Ensure(t.Context(), want); fail == nil || fail.Reason != "ErrImagePull" {
		t.Errorf("without the account: %+v", fail)
	}
}

// TestNodeCredentials pulls with credentials of the node: the image is for every pod.
func TestNodeCredentials(t *testing.T) {
	rt := &registryOf{Runtime: runtimetest.New(), user: "node"}
	p := newPuller(t, rt.Runtime)
	p.cfg.Images = rt
	p.cfg.Credentials = []CredentialSource{source(func(*corev1.Pod) ([]image.Credential, error) {
		return []image.Credential{{Username: "node", Source: image.Source{Kind: image.KindNode}}}, nil
	})}
	want := Request{Pod: podtest.New(corev1.RestartPolicyAlways, "a"), Container: "a", Key: "a", Image: imageName, Policy: corev1.PullIfNotPresent, BackOffs: &BackOffs{}}
	for _, pulls := range []int{1, 0} {
		if _, fail := p.Ensure(t.Context(), want); fail != nil || len(rt.tried()) != pulls {
			t.Errorf("%+v, want %d pulls", fail, pulls)
		}
	}
}

// TestMendedSecret gives the pod another secret while its pull is in back-off: it is tried
// at once, and the series of delays begins again.
func TestMendedSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &registryOf{Runtime: runtimetest.New(), user: "good"}
		p := newPuller(t, rt.Runtime)
		secret := &secretOf{user: "bad"}
		p.cfg.Images, p.cfg.Secrets = rt, secret
		var backOffs BackOffs
		want := Request{Pod: withSecret(), Container: "a", Key: "a", Image: imageName, BackOffs: &backOffs}
		try := func(reason string, users ...string) time.Time {
			t.Helper()
			_, fail := p.Ensure(t.Context(), want)
			if fail == nil {
				fail = &Failure{}
			}
			if got := rt.tried(); fail.Reason != reason || !slices.Equal(got, users) {
				t.Fatalf("%+v, tried %q, want %s by %q", fail, got, reason, users)
			}
			return fail.RetryAt
		}
		for range 2 {
			try("ErrImagePull", "bad")
			time.Sleep(time.Until(try("ImagePullBackOff")))
		}
		try("ErrImagePull", "bad")
		secret.user = "worse"
		try("ErrImagePull", "worse")
		if wait := time.Until(try("ImagePullBackOff")); wait != 10*time.Second {
			t.Errorf("the delay with other credentials is %s", wait)
		}
		secret.user = "good"
		try("", "good")
		if backOffs.Waits("a") {
			t.Error("a pull that worked waits")
		}
	})
}

// TestQPS begins pulls at a rate.
func TestQPS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := runtimetest.New()
		p := newPuller(t, rt)
		limited := New(Config{Images: rt, Secrets: p.cfg.Secrets, Events: p.cfg.Events, Pulls: p.cfg.Pulls, Registries: p.cfg.Registries,
			MaxPulls: 100, QPS: 0.5, Burst: 2, Pulled: func(uint64, time.Duration) {}, Settle: p.cfg.Settle})
		began := time.Now()
		var all sync.WaitGroup
		for i := range 6 {
			name := "registry.example.com/" + strings.Repeat("a", i+1)
			all.Go(func() {
				want := Request{Pod: podtest.New(corev1.RestartPolicyAlways, "a"), Container: "a", Key: "a", Image: name, BackOffs: &BackOffs{}}
				if _, fail := limited.Ensure(t.Context(), want); fail != nil {
					t.Errorf("%+v", fail)
				}
			})
		}
		all.Wait()
		if took := time.Since(began).Round(time.Second); took != 8*time.Second {
			t.Errorf("6 pulls took %s", took)
		}
	})
}

// TestAllowlist gives images that the agent did not pull, if they are listed.
func TestAllowlist(t *testing.T) {
	list, err := image.ParseAllowlist([]string{"registry.example.com/*"})
	if err != nil {
		t.Fatal(err)
	}
	for name, reason := range map[string]string{imageName: "", "other.example.com/app:1": "ErrImageNeverPull"} {
		rt := runtimetest.New()
		rt.AddImage(name)
		p := newPuller(t, rt)
		p.cfg.Trust, p.cfg.Allowlist = TrustListed, list
		_, fail := p.Ensure(t.Context(), Request{Pod: podtest.New(corev1.RestartPolicyAlways, "a"), Container: "a", Key: "a", Image: name, Policy: corev1.PullNever, BackOffs: &BackOffs{}})
		if fail == nil {
			fail = &Failure{}
		}
		if fail.Reason != reason {
			t.Errorf("%s: %+v, want %q", name, fail, reason)
		}
	}
}

// cutOff is a source of credentials that needs a link for them.
type cutOff struct {
	source
	from []image.Source
}

func (c *cutOff) Sources(context.Context, *corev1.Pod, image.Ref) []image.Source { return c.from }

// TestAccountWithoutLink starts a container again while no credentials can be had: the image
// is on the node, and the pod's service account brought it there.
func TestAccountWithoutLink(t *testing.T) {
	robot := image.Source{Kind: image.KindServiceAccount, UID: "u", Namespace: "default", Name: "robot"}
	for _, policy := range []corev1.PullPolicy{corev1.PullIfNotPresent, corev1.PullNever, corev1.PullAlways} {
		rt := &registryOf{Runtime: runtimetest.New(), user: "robot"}
		p := newPuller(t, rt.Runtime)
		p.cfg.Images, p.cfg.Offline = rt, true
		p.cfg.Credentials = []CredentialSource{source(func(*corev1.Pod) ([]image.Credential, error) {
			return []image.Credential{{Username: "robot", Source: robot}}, nil
		})}
		want := Request{Pod: podtest.New(corev1.RestartPolicyAlways, "a"), Container: "a", Key: "a", Image: imageName, BackOffs: &BackOffs{}}
		if _, fail := p.Ensure(t.Context(), want); fail != nil {
			t.Fatalf("%+v", fail)
		}
		rt.user = "nobody" // the registry is out of reach
		want.Policy = policy
		away := source(func(*corev1.Pod) ([]image.Credential, error) { return nil, errors.New("no link") })
		p.cfg.Credentials = []CredentialSource{&cutOff{away, []image.Source{robot}}}
		if _, fail := p.Ensure(t.Context(), want); fail != nil {
			t.Errorf("%s: %+v", policy, fail)
		}
		other := robot
		other.UID = "v" // another account of that name
		p.cfg.Credentials = []CredentialSource{&cutOff{away, []image.Source{other, {Kind: image.KindNode}}}}
		if _, fail := p.Ensure(t.Context(), want); fail == nil {
			t.Errorf("%s: another account has the image", policy)
		}
	}
}
