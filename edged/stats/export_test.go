package stats

// PinnedImage is for tests.
var PinnedImage = pinnedImage
