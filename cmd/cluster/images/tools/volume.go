package main

import (
	"flag"
	"fmt"
	"os"
)

// volume is local-path-provisioner's setupCommand and teardownCommand: its options are
// those of https://github.com/rancher/local-path-provisioner#configuration.
func volume(args []string) error {
	flags := flag.NewFlagSet("volume", flag.ContinueOnError)
	path, action := flags.String("p", "", "folder"), flags.String("a", "", "create or delete")
	flags.String("s", "", "size, which a folder does not have")
	flags.String("m", "", "mode, which is no matter")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case *path == "":
		return fmt.Errorf("volume: -p is required")
	case *action == "delete":
		return os.RemoveAll(*path)
	case *action != "create":
		return fmt.Errorf("volume: -a is %q: want create or delete", *action)
	}
	if err := os.MkdirAll(*path, 0o777); err != nil {
		return err
	}
	return os.Chmod(*path, 0o777) // against the umask
}
