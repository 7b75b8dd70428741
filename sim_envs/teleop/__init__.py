"""A human as an agent: a page in the browser with the live scene and one gizmo per gripper. See docs/teleoperation.md.

`operator` turns gizmo poses into joint targets and knows no web, `session` is the 50 Hz loop and the life of an
episode, `page` is what the browser shows, in a process of its own, `gate` decides who may open it, and `gamepad`
moves the hands with sticks.
"""
