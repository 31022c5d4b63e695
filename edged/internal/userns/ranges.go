package userns

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/edgekit/edgekit/edged/runtime"
)

// Unit is what the size of each range is a multiple of, and its default: Linux programs
// expect that many ids.
const Unit = 65536

// owner is the user whose subordinate ids pods get, as with a kubelet:
// https://kubernetes.io/docs/tasks/administer-cluster/kubelet-in-userns/
const owner = "kubelet"

// span are the ids from first to end-1. It needs 64 bits: the last id is 2^32-1.
type span struct{ first, end uint64 }

func spanOf(u runtime.UserNamespace) span {
	return span{uint64(u.First), uint64(u.First) + uint64(u.Length)}
}

func (s span) overlaps(o span) bool { return s.first < o.end && o.first < s.end }

// defaults are all ids but those below the first range, which are the host's own.
func defaults(perPod uint32) span { return span{uint64(perPod), 1 << 32} }

// Files are where subordinate ids are written down. The zero value is that of a machine
// without any.
type Files struct{ Users, UIDs, GIDs string }

// SystemFiles are those of subuid(5) and subgid(5).
func SystemFiles() Files { return Files{"/etc/passwd", "/etc/subuid", "/etc/subgid"} }

// read gives the ids of the user kubelet; false where the machine has no such user, or no
// files of subordinate ids.
func (f Files) read() (span, bool, error) {
	uid, err := userID(f.Users)
	if err != nil || uid == "" {
		return span{}, false, err
	}
	uids, err := subordinate(f.UIDs, uid)
	if err != nil {
		return span{}, false, err
	}
	gids, err := subordinate(f.GIDs, uid)
	switch {
	case err != nil:
		return span{}, false, err
	case uids == nil && gids == nil:
		return span{}, false, nil
	case uids == nil || gids == nil || *uids != *gids:
		return span{}, false, fmt.Errorf("%s and %s give the user %s different ids: write the same line into both", f.UIDs, f.GIDs, owner)
	}
	return *uids, true, nil
}

// userID is the uid of the user kubelet; "" without such a user.
func userID(file string) (string, error) {
	text, err := readFile(file)
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(text) {
		if f := strings.Split(string(line), ":"); len(f) > 2 && f[0] == owner {
			return f[2], nil
		}
	}
	return "", nil
}

// subordinate reads the one line of the user kubelet, or of its uid; nil without one.
func subordinate(file, uid string) (*span, error) {
	text, err := readFile(file)
	if err != nil {
		return nil, err
	}
	var found *span
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		f := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(f) != 3 || f[0] != owner && f[0] != uid {
			continue
		}
		first, err := strconv.ParseUint(f[1], 10, 32)
		count, countErr := strconv.ParseUint(f[2], 10, 33)
		if err != nil || countErr != nil || first+count > 1<<32 {
			return nil, fmt.Errorf("%s: the line %q of the user %s is not USER:FIRST:COUNT", file, lines.Text(), owner)
		}
		if found != nil {
			return nil, fmt.Errorf("%s has several lines of the user %s: leave one", file, owner)
		}
		found = &span{first, first + count}
	}
	return found, lines.Err()
}

// readFile is a small file; nothing where it does not exist.
func readFile(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// Format writes a range as the annotation of a sandbox has it: "65536+65536".
func Format(u runtime.UserNamespace) string { return fmt.Sprintf("%d+%d", u.First, u.Length) }

// Parse reads what Format has written; false for any other text.
func Parse(text string) (runtime.UserNamespace, bool) {
	a, b, ok := strings.Cut(text, "+")
	first, err := strconv.ParseUint(a, 10, 32)
	length, lengthErr := strconv.ParseUint(b, 10, 32)
	if !ok || err != nil || lengthErr != nil || first == 0 || length == 0 || first+length > 1<<32 {
		return runtime.UserNamespace{}, false
	}
	return runtime.UserNamespace{First: uint32(first), Length: uint32(length)}, true
}
