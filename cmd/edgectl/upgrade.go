package main

// upgradeCmd is the command "upgrade".
type upgradeCmd struct {
	Cloud upgradeCloudCmd `cmd:"" help:"Replace cloudcore in the cluster by another version, while nodes stay connected."`
}
