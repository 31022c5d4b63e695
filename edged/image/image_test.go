package image_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/image"
)

func TestParse(t *testing.T) {
	sum := "sha256:" + strings.Repeat("ab", 32)
	for text, want := range map[string]string{
		"nginx": "docker.io/library/nginx:latest", "nginx:1.2": "docker.io/library/nginx:1.2", "acme/app": "docker.io/acme/app:latest",
		"localhost/app": "localhost/app:latest", "localhost:5000/a/b:c": "localhost:5000/a/b:c", "quay.io/a/b@" + sum: "quay.io/a/b@" + sum,
		"quay.io/a/b:t@" + sum: "quay.io/a/b:t@" + sum, "index.docker.io/nginx": "docker.io/library/nginx:latest", "[::1]:5000/x": "[::1]:5000/x:latest",
	} {
		if got, err := image.Parse(text); err != nil || got.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "FOO/bar baz", "Nginx", "nginx:", "nginx@sha256:12", "a//b", "-a", "a/b:" + strings.Repeat("x", 129), "INVALID!!", strings.Repeat("a", 300)} {
		if got, err := image.Parse(text); err == nil {
			t.Errorf("%q: %s, want an error", text, got)
		}
	}
}

func secret(json string) *corev1.Secret {
	return &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(json)}}
}

func TestCredentials(t *testing.T) {
	auth := base64.StdEncoding.EncodeToString([]byte("bob:pa:ss"))
	secrets := []*corev1.Secret{
		secret(`{"auths":{"https://index.docker.io/v1/":{"auth":"` + auth + `"},"quay.io":{"username":"q","password":"p"},"quay.io/acme":{"username":"a","password":"p"},"*.azurecr.io":{"username":"z","password":"p"}}}`),
		secret(`not json`), {Type: corev1.SecretTypeOpaque},
		{Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{corev1.DockerConfigKey: []byte(`{"old.io:5000":{"username":"o","password":"p"}}`)}},
	}
	for ref, want := range map[string]string{
		"nginx": "bob", "quay.io/acme/x": "a q", "quay.io/acmex/x": "q", "me.azurecr.io/x": "z", "gcr.io/x": "", "old.io:5000/x": "o",
	} {
		r, err := image.Parse(ref)
		if err != nil {
			t.Fatal(err)
		}
		list, err := image.Credentials(secrets, r)
		if err == nil {
			t.Error("the damaged secret is not named")
		}
		var users []string
		for _, c := range list {
			users = append(users, c.Username)
		}
		if got := strings.Join(users, " "); got != want {
			t.Errorf("%s: %q, want %q", ref, got, want)
		}
		if ref == "nginx" && list[0].Password != "pa:ss" {
			t.Errorf("password %q", list[0].Password)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"nginx", "a/b:c@sha256:00", "[::1]:1/x", "@", ":", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := image.Parse(text)
		if err != nil {
			return
		}
		if again, err := image.Parse(r.String()); err != nil || again != r {
			t.Errorf("%q: %+v, then %+v, %v", text, r, again, err)
		}
	})
}

func FuzzCredentials(f *testing.F) {
	f.Add(`{"auths":{"quay.io":{"auth":"YTpi"}}}`, "quay.io/x")
	f.Add(`{"auths":{"[":{"auth":"%%%"}}}`, "quay.io/x")
	f.Fuzz(func(_ *testing.T, json, text string) {
		if r, err := image.Parse(text); err == nil {
			image.Credentials([]*corev1.Secret{secret(json)}, r)
		}
	})
}

func ExampleParse() {
	ref, _ := image.Parse("nginx")
	fmt.Println(ref.Registry, ref.Path, ref.Tag)
	// Output: docker.io library/nginx latest
}
