package packages

import (
	"fmt"
	"regexp"
	"strings"
)

// version is a version in the forms of the package formats. All sort a pre-release before its
// release.
type version struct {
	deb string // 1.2.3, 1.2.3~rc.1: of Debian and RPM packages
	apk string // 1.2.3, 1.2.3_rc1
}

// parseVersion reads v1.2.3, v1.2.3-rc.1 and Go's pseudo-versions; what is after a plus is kept
// but where the format has no such thing.
func parseVersion(text string) (version, error) {
	parts := regexp.MustCompile(`^v(\d+\.\d+\.\d+)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?$`).FindStringSubmatch(text)
	if parts == nil {
		return version{}, fmt.Errorf("packages: version %q: want one like v1.2.3 or v1.2.3-rc.1", text)
	}
	core, pre, meta := parts[1], parts[2], parts[3]
	v := version{deb: core, apk: core}
	if pre != "" {
		v.deb += "~" + strings.ReplaceAll(pre, "-", ".")
		v.apk += apkSuffix(pre)
	}
	if meta != "" {
		v.deb += "+" + strings.ReplaceAll(meta, "-", ".")
	}
	return v, nil
}

// apkSuffix is the pre-release in one of the four forms that Alpine has.
func apkSuffix(pre string) string {
	if m := regexp.MustCompile(`^(alpha|beta|pre|rc)[.-]?(\d*)`).FindStringSubmatch(pre); m != nil {
		return "_" + m[1] + m[2]
	}
	// The longest number of a pseudo-version is its time.
	var longest string
	for _, digits := range regexp.MustCompile(`\d+`).FindAllString(pre, -1) {
		if len(digits) > len(longest) {
			longest = digits
		}
	}
	return "_pre" + longest
}
