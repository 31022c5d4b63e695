package podspec

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/hub/decodetest"
)

func TestEnvFileValue(t *testing.T) {
	const file = "# settings\n\n  A='one' # first\nB='two\nlines='\nA='again'\nC= 'nothing'\nD=''\nE='$A \\n \"x\" # y'\r\nexport F='f'\nG='a=b'"
	for key, want := range map[string]string{"A": "one", "B": "two\nlines=", "C": "", "D": "", "E": `$A \n "x" # y`, "export F": "f", "G": "a=b"} {
		if got, ok, err := envFileValue(file, key); got != want || !ok || err != nil {
			t.Errorf("%s: %q, %t, %v; want %q", key, got, ok, err, want)
		}
	}
	if _, ok, err := envFileValue(file, "F"); ok || err != nil {
		t.Errorf("a key that is not there: %t, %v", ok, err)
	}
	for text, want := range map[string]string{
		"A":              "line 1: there is no '='",
		"\n='x'":         "line 2: there is no name",
		"A ='x'":         "no blank before",
		"A=secret":       "single quotes",
		"A=\"secret\"":   "single quotes",
		"X='1\n2'\nA='x": "line 3: the single quote is not closed",
		"A='x' secret":   "after the closing quote",
		"A='x'secret'y'": "after the closing quote",
		"A='x\x00'":      "NUL",
	} {
		if _, ok, err := envFileValue(text, "A"); ok || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %t, %v; want %q", text, ok, err, want)
		}
	}
}

func TestFileKey(t *testing.T) {
	files := func(_ *corev1.Pod, volume, path string, limit int) ([]byte, error) {
		switch {
		case volume == "v" && path == "f":
			return []byte("A='one'\nEMPTY=''\n"), nil
		case volume == "v" && path == "bad":
			return []byte("A=one"), nil
		case volume == "v":
			return nil, fs.ErrNotExist
		}
		return nil, errors.New("no such volume")
	}
	for _, tt := range []struct {
		volume, path, key string
		optional          bool
		want              string
		found             bool
		wantErr           string
	}{
		{"v", "f", "A", false, "one", true, ""},
		{"v", "f", "EMPTY", false, "", true, ""},
		{"v", "f", "B", false, "", false, `key "B" not found in file "f"`},
		{"v", "f", "B", true, "", false, ""},
		{"v", "none", "A", true, "", false, ""},
		{"v", "none", "A", false, "", false, "couldn't read env file"},
		{"v", "bad", "A", true, "", false, "couldn't parse env file"},
		{"w", "f", "A", true, "", false, "no such volume"},
		{"v", "f", strings.Repeat("A", maxEnvKey+1), true, "", false, "at most 128"},
	} {
		env, err := environmentOf(t.Context(), nil, files, &corev1.Pod{}, &corev1.Container{Env: []corev1.EnvVar{
			{Name: "X", ValueFrom: &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: tt.volume, Path: tt.path, Key: tt.key, Optional: &tt.optional}}},
			{Name: "Y", Value: "$(X)"},
		}}, nil)
		if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%+v: %v", tt, err)
		}
		if err != nil {
			continue
		}
		if got, ok := env.lookup("X"); got != tt.want || ok != tt.found {
			t.Errorf("%+v: %q, %t", tt, got, ok)
		}
		if got, _ := env.lookup("Y"); tt.found && got != tt.want {
			t.Errorf("%+v: a variable that refers to it is %q", tt, got)
		}
	}
}

func FuzzEnvFile(f *testing.F) {
	f.Add("A='x'\n# y\nB='1\n2' # z\nC= 'n'", "B")
	f.Fuzz(func(t *testing.T, text, key string) {
		value, ok, err := envFileValue(text, key)
		if ok && err != nil || !ok && value != "" || strings.ContainsAny(value, "'\x00") {
			t.Errorf("%q, %t, %v", value, ok, err)
		}
	})
}

// TestAttackEnvFile searches for the file that costs most memory to read.
func TestAttackEnvFile(t *testing.T) {
	decodetest.Search(t, decodetest.Case{
		Name: "env_file", Between: "\n", Units: []string{"A='x'", "A='\n'", "A= ", "#"}, Tokens: []string{"'", "\n", "=", "A", " ", "\r\n"},
		Decode: func(b []byte) { _, _, _ = envFileValue(string(b), "Z") },
	})
}
