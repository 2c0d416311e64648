# Users, project, field and rights of the Redmine that the mirrors are tested against.
require 'json'
Setting.rest_api_enabled = '1'
Setting.notified_events = []
project = Project.create!(name: 'Acme', identifier: 'acme', is_public: false)
field = IssueCustomField.create!(name: 'Vartovyi key', field_format: 'string', is_filter: true, is_for_all: true,
                                 tracker_ids: Tracker.pluck(:id))
further = IssueCustomField.create!(name: 'Cause', field_format: 'string', is_for_all: true, tracker_ids: Tracker.pluck(:id))
role = Role.find_by(name: 'Manager')
# What a workflow forbids, Redmine leaves undone under a 204: nobody may reject.
rejected = IssueStatus.find_by(name: 'Rejected')
WorkflowTransition.where(new_status_id: rejected.id).delete_all
given = { 'field' => field.id.to_s, 'further' => further.id.to_s }
%w(vartovyi olena).each do |name|
  user = User.new(firstname: name.capitalize, lastname: 'Test', mail: "#{name}@example.org", language: 'en')
  user.login = name
  user.password = 'not used: the key is'
  user.save!
  Member.create!(project: project, principal: user, roles: [role])
  given["#{name}_token"] = user.api_key
  given["#{name}_user"] = user.id.to_s
end
File.write('/root/desk.json', JSON.generate(given))
