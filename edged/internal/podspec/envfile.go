package podspec

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxEnvFile bounds a file of variables in bytes.
const maxEnvFile = 64 << 10

// maxEnvKey bounds the name of a variable in such a file, as the API says.
const maxEnvKey = 128

// fileReader reads a file of one of the pod's volumes, of at most limit bytes. The error
// for one that is not there wraps fs.ErrNotExist.
type fileReader func(pod *corev1.Pod, volume, path string, limit int) ([]byte, error)

// fileKey reads a variable from a file in a volume of the pod (KEP-3721): one that the
// pod's init containers wrote, in most cases. It is false if the reference is optional
// and the file has no such variable, or is not there.
func (r *references) fileKey(pod *corev1.Pod, ref *corev1.FileKeySelector) (string, bool, error) {
	optional := ref.Optional != nil && *ref.Optional
	if len(ref.Key) > maxEnvKey {
		return "", false, fmt.Errorf("fileKeyRef: the key has %d characters: at most %d are allowed", len(ref.Key), maxEnvKey)
	}
	text, err := r.files(pod, ref.VolumeName, ref.Path, maxEnvFile)
	if errors.Is(err, fs.ErrNotExist) && optional {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("couldn't read env file %q of volume %q: %w", ref.Path, ref.VolumeName, err)
	}
	value, ok, err := envFileValue(string(text), ref.Key)
	switch {
	case err != nil:
		return "", false, fmt.Errorf("couldn't parse env file %q of volume %q: %w", ref.Path, ref.VolumeName, err)
	case !ok && !optional:
		return "", false, fmt.Errorf("environment variable key %q not found in file %q of volume %q", ref.Key, ref.Path, ref.VolumeName)
	}
	return value, ok, nil
}

// envFileValue finds the first assignment of key in a file of lines NAME='value'. A
// value may have several lines, and nothing in it is special. A line may be empty, begin
// with blanks, or have a comment after "#". What follows "= " is left out and the value is
// empty, as in a shell. What is before the assignment must be valid; what comes after it is
// not read. The errors name lines, and show nothing of them: they may hold secrets.
func envFileValue(text, key string) (value string, found bool, err error) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	for number := 1; text != ""; number++ {
		here := text
		line, rest, _ := strings.Cut(text, "\n")
		text = rest
		line = strings.TrimLeft(line, " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		bad := func(why string) error { return fmt.Errorf("line %d: %s", number, why) }
		name, rest, ok := strings.Cut(line, "=")
		switch {
		case !ok:
			return "", false, bad("there is no '='")
		case name == "":
			return "", false, bad("there is no name before '='")
		case strings.TrimRight(name, " \t") != name:
			return "", false, bad("there must be no blank before '='")
		case rest != "" && (rest[0] == ' ' || rest[0] == '\t'):
			if name == key {
				return "", true, nil
			}
			continue
		case !strings.HasPrefix(rest, "'"):
			return "", false, bad("the value must be in single quotes")
		}
		_, value, _ := strings.Cut(here, "='") // it may have more lines
		value, after, ok := strings.Cut(value, "'")
		if !ok {
			return "", false, bad("the single quote is not closed")
		}
		if strings.Contains(value, "\x00") {
			return "", false, bad("the value has a NUL byte")
		}
		number += strings.Count(value, "\n")
		after, text, _ = strings.Cut(after, "\n")
		if after = strings.TrimLeft(after, " \t"); after != "" && after[0] != '#' {
			return "", false, bad("there is something after the closing quote")
		}
		if name == key {
			return value, true, nil
		}
	}
	return "", false, nil
}
