// Package browser opens an address in the user's browser.
package browser

import (
	"context"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Open starts the browser with an address that holds a secret. Arguments of a program can be seen
// by all users of a machine, so the browser is given a file that only this user can read, which
// leads to the address. The caller calls remove when the address is of no use any more.
//
// Open returns when the program that it starts ends. Where no browser runs yet, that program may
// be the browser itself, so the address must be served before. When ctx ends the program is
// killed, which leaves most browsers alone.
func Open(ctx context.Context, address string) (remove func(), err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("open the browser: %w", err)
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return nil, fmt.Errorf("open the browser: %w", err)
	}
	dir, err := os.MkdirTemp(cache, "edgectl-console-") // only this user may enter it
	if err != nil {
		return nil, fmt.Errorf("open the browser: %w", err)
	}
	remove = func() { _ = os.RemoveAll(dir) }
	file := filepath.Join(dir, "console.html")
	if err := os.WriteFile(file, page(address), 0o600); err != nil {
		remove()
		return nil, fmt.Errorf("open the browser: %w", err)
	}
	name, args := command(runtime.GOOS, file)
	if err := run(ctx, filepath.Join(dir, "output"), name, args...); err != nil {
		remove()
		return nil, fmt.Errorf("open the browser: %w", err)
	}
	return remove, nil
}

// run runs a program that writes into a file. A pipe would be open as long as a browser that the
// program starts.
func run(ctx context.Context, output, name string, args ...string) error {
	out, err := os.OpenFile(output, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // a constant program, with the path of our own file
	cmd.Stdout, cmd.Stderr = out, out
	detach(cmd)
	if err := cmd.Run(); err != nil {
		text := make([]byte, 200)
		n, _ := out.ReadAt(text, 0)
		return fmt.Errorf("%s: %w: %s", name, err, text[:n])
	}
	return nil
}

// page leads to an address.
func page(address string) []byte {
	return []byte(`<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=` + html.EscapeString(address) + `"><title>edgekit console</title>`)
}

// command returns the program of a system that opens a file with the user's choice of program.
func command(system, file string) (string, []string) {
	switch system {
	case "darwin":
		return "open", []string{file}
	case "windows":
		return "rundll32", []string{"url.dll,FileProtocolHandler", file}
	}
	return "xdg-open", []string{file}
}
