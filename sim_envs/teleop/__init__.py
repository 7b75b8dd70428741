"""Teleoperation: a person drives through a page in the browser with the live scene and one gizmo per gripper.

`operator` turns gizmo poses into joint targets, `session` is the 50 Hz loop and the life of an episode; neither knows
the web. `page` and `controls` are what the browser shows, in a process of its own that `link` starts, `access_proxy`
decides who may open it, and `gamepad` moves the hands with sticks. docs/teleoperation.md is the manual.
"""
