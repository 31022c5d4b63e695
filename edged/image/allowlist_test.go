package image

import "testing"

func TestAllowlist(t *testing.T) {
	list, err := ParseAllowlist([]string{"busybox", "quay.io/acme/sensor", "registry.io:5000/team/*"})
	if err != nil {
		t.Fatal(err)
	}
	const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for name, want := range map[string]bool{
		"busybox": true, "docker.io/library/busybox:1.36": true, "quay.io/acme/sensor" + digest: true,
		"quay.io/acme/sensor2:1": false, "quay.io/acme/sensor/x": false, "registry.io:5000/team/a": true, "registry.io:5000/team/a/b:1": true,
		"registry.io:5000/teams/a": false, "registry.io/team/a": false,
	} {
		ref, err := Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := list.Names(ref); got != want {
			t.Errorf("%s: %t", name, got)
		}
		if (Allowlist{}).Names(ref) {
			t.Errorf("an empty list names %s", name)
		}
	}
	for _, bad := range []string{"", " busybox", "*", "/*", "quay.io/*/sensor", "quay.io/a*", "busybox:1", "busybox" + digest, "*/*"} {
		if _, err := ParseAllowlist([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
