package main

import (
	"fmt"
	"regexp"
	"strconv"
)

// release is a version of edgekit.
type release struct{ major, minor, patch int }

var releaseForm = regexp.MustCompile(`^v(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:[-+][0-9A-Za-z.+-]*)?$`)

// parseRelease reads a version such as v1.2.3.
func parseRelease(text string) (release, error) {
	m := releaseForm.FindStringSubmatch(text)
	if m == nil || isPseudo(text) {
		return release{}, fmt.Errorf("%q is not a version such as v1.2.3", text)
	}
	var r release
	for i, to := range []*int{&r.major, &r.minor, &r.patch} {
		*to, _ = strconv.Atoi(m[i+1]) // the form has at most six digits
	}
	return r, nil
}

var pseudoForm = regexp.MustCompile(`\d{14}-[0-9a-f]{12}|\+dirty$`)

// isPseudo reports whether Go made the version of a commit.
func isPseudo(text string) bool { return pseudoForm.MatchString(text) }

// skew is how many minor versions two programs may be apart: a cloudcore works with nodes of
// two minor versions before it and after it.
const skew = 2

// apart is the number of minor versions between two releases; a major version counts as more
// than any.
func (r release) apart(other release) int {
	if r.major != other.major {
		return 1000
	}
	return max(r.minor-other.minor, other.minor-r.minor)
}
