package image

import "testing"

// TestPullSources looks who may have an image that was pulled with the credentials of an
// object: whoever names the object, also after it has others, and whoever has the same
// credentials, as a kubelet has it (KEP-2535).
func TestPullSources(t *testing.T) {
	ref, err := Parse("quay.io/acme/sensor:1")
	if err != nil {
		t.Fatal(err)
	}
	secret := Source{KindSecret, "uid-1", "plant", "pull"}
	account := Source{KindServiceAccount, "uid-2", "plant", "robot"}
	first := Credential{Username: "u", Password: "1", Source: secret}
	token := Credential{Username: "t", Password: "a", Source: account}
	for _, tt := range []struct {
		name   string
		pulled Credential
		asks   Credential
		want   bool
	}{
		{"same secret", first, first, true},
		{"the secret was renewed", first, Credential{Username: "u", Password: "2", Source: secret}, true},
		{"same credentials in another secret", first, Credential{Username: "u", Password: "1", Source: Source{KindSecret, "uid-9", "other", "pull"}}, true},
		{"a secret made again has another uid", first, Credential{Username: "u", Password: "2", Source: Source{KindSecret, "uid-3", "plant", "pull"}}, false},
		{"same account, new token", token, Credential{Username: "t", Password: "b", Source: account}, true},
		{"another account with an equal password", token, Credential{Username: "t", Password: "a", Source: Source{KindServiceAccount, "uid-8", "plant", "else"}}, false},
		{"the node's", Credential{Username: "n", Password: "1", Source: Source{Kind: KindNode}}, Credential{Username: "x", Source: secret}, true},
		{"another's secret", first, Credential{Username: "u", Password: "guess", Source: Source{KindSecret, "uid-9", "other", "pull"}}, false},
		{"sources that are not known are not equal", Credential{Username: "a", Password: "1"}, Credential{Username: "a", Password: "2"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := NewPulls(dir).Note(ref, "id1", &tt.pulled); err != nil {
				t.Fatal(err)
			}
			if got := NewPulls(dir).Could(ref, "id1", []Credential{tt.asks}); got != tt.want {
				t.Errorf("may have the image: %t, want %t", got, tt.want)
			}
		})
	}
}
