package image

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/hub/decodetest"
)

// TestAttackDecoders searches for the pull secret that costs most memory to read:
// everybody who may create a Secret and a pod can write one.
func TestAttackDecoders(t *testing.T) {
	ref, err := Parse("quay.io/acme/sensor:1")
	if err != nil {
		t.Fatal(err)
	}
	read := func(kind corev1.SecretType, key string) func([]byte) {
		return func(b []byte) {
			_, _ = Credentials([]*corev1.Secret{{Type: kind, Data: map[string][]byte{key: b}}}, ref)
		}
	}
	units := []string{`"a":{}`, `"quay.io":{}`, `"q*":{"auth":"YTpi"}`, `"":{"username":"a"}`, `"quay.io":{"auth":"YTpi"}`, `"a":null`, `"quay.*":{}`}
	config := read(corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey)
	decodetest.Search(t,
		decodetest.Case{Name: "pull_secret", Before: `{"auths":{`, Between: ",", After: `}}`, Units: units, Tokens: decodetest.JSONTokens(), Decode: config,
			Whole: [][]byte{decodetest.Keys(`{"auths":{`, `{}`, `}}`), decodetest.Keys(`{"auths":{`, `0`, `}}`)}},
		decodetest.Case{Name: "pull_secret_old", Before: `{`, Between: ",", After: `}`, Units: units, Tokens: decodetest.JSONTokens(),
			Decode: read(corev1.SecretTypeDockercfg, corev1.DockerConfigKey), Whole: [][]byte{decodetest.Keys(`{`, `{}`, `}`)}},
	)
}
