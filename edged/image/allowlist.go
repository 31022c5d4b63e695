package image

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// Allowlist names images, without tag or digest: whole, or with a last part "/*" that
// stands for all below. It is the kubelet's preloadedImagesVerificationAllowlist. The zero
// value names none.
type Allowlist struct {
	names    map[string]bool
	prefixes []string
}

// ParseAllowlist reads the patterns of an Allowlist. A pattern is completed as an image's
// name is: "busybox" is "docker.io/library/busybox".
func ParseAllowlist(patterns []string) (Allowlist, error) {
	list := Allowlist{names: make(map[string]bool)}
	for _, pattern := range patterns {
		bad := func(why string) (Allowlist, error) {
			return Allowlist{}, fmt.Errorf("image: allowlist: %q: %s", pattern, why)
		}
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasSuffix(prefix, "/") {
			host := strings.TrimSuffix(prefix, "/")
			if host == "" || strings.ContainsAny(host, "* \t") {
				return bad("want a registry, or a path in one, before \"/*\", and no other \"*\"")
			}
			list.prefixes = append(list.prefixes, prefix)
			continue
		}
		named, err := reference.ParseNormalizedNamed(pattern)
		if err != nil {
			return bad(err.Error())
		}
		if !reference.IsNameOnly(named) {
			return bad("leave out the tag and the digest")
		}
		list.names[named.Name()] = true
	}
	return list, nil
}

// Names reports whether the list has an image.
func (l Allowlist) Names(ref Ref) bool {
	name := ref.Registry + "/" + ref.Path
	if l.names[name] {
		return true
	}
	for _, prefix := range l.prefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
