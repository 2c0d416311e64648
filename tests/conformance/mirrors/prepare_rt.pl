# Users, queue, field and rights of the Request Tracker that the mirrors are tested against.
use strict;
use warnings;
use JSON;

# Hashing a token takes half a second with RT's own cost; how safe a hash is is not what is tested here.
open(my $site, '>', '/etc/request-tracker5/RT_SiteConfig.d/99-mirrors.pm') or die $!;
print $site <<'SITE';
Set($BcryptCost, 4);
Set($WebDomain, '127.0.0.1');
Set($WebPath, '');
Set($WebBaseURL, 'http://127.0.0.1');
Set($WebURL, 'http://127.0.0.1/');
Set($MailCommand, 'testfile');
Set($LogToSyslog, undef);
Set($LogToSTDERR, 'error');
1;
SITE
close($site);

require lib;
lib->import('/usr/share/request-tracker5/lib');
require RT;
RT->import('-init');
my %given;

sub done { my ($what, $ok, $said) = @_; die "$what: $said" unless $ok }

my $field = RT::CustomField->new(RT->SystemUser());
done('field', $field->Create(Name => 'VartovyiKey', Type => 'FreeformSingle', LookupType => RT::Ticket->CustomFieldLookupType));
done('field everywhere', $field->AddToObject(RT::Queue->new(RT->SystemUser())));
my $further = RT::CustomField->new(RT->SystemUser());
done('further', $further->Create(Name => 'Cause', Type => 'FreeformSingle', LookupType => RT::Ticket->CustomFieldLookupType));
done('further everywhere', $further->AddToObject(RT::Queue->new(RT->SystemUser())));
my $queue = RT::Queue->new(RT->SystemUser());
done('queue', $queue->Create(Name => 'acme'));
my @rights = qw(
    SeeQueue ShowTicket ShowTicketComments CreateTicket CommentOnTicket ReplyToTicket ModifyTicket OwnTicket ReassignTicket
);
for my $name ('vartovyi', 'olena') {
    my $user = RT::User->new(RT->SystemUser());
    done($name, $user->Create(Name => $name, Privileged => 1, EmailAddress => "$name\@example.org"));
    # What docs/mirrors.md asks for, and no more.
    for my $right (@rights) {
        done("$right of $name", $user->PrincipalObj->GrantRight(Right => $right, Object => $queue));
    }
    for my $right ('SeeCustomField', 'SetInitialCustomField', 'ModifyCustomField') {
        done("$right of $name", $user->PrincipalObj->GrantRight(Right => $right, Object => $RT::System));
    }
    my $token = RT::AuthToken->new(RT->SystemUser());
    my ($ok, $said, $secret) = $token->Create(Owner => $user->id, Description => 'mirror');
    done("token of $name", $ok, $said);
    $given{"${name}_token"} = $secret;
    $given{"${name}_user"} = $name;
}
@given{'field', 'further'} = ('VartovyiKey', 'Cause');
open(my $out, '>', '/root/desk.json') or die $!;
print $out encode_json(\%given);
close($out);
